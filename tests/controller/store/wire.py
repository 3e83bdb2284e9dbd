"""A wire between the store and its PostgreSQL server, which a test cuts where it wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum

from motorpool_controller.config import PostgresUrl


class Cut(Enum):
    BEFORE_COMMIT = "the server never hears of the commit"
    AFTER_COMMIT = "the server commits, and its answer is lost"
    SILENT = "the server commits, and its connection to us stays open at its end alone"


class Wire:
    """Passes bytes on until it is told to cut; what is connected afterwards passes again."""

    def __init__(self, host: str, port: int) -> None:
        self._far = host, port
        self._ends: list[asyncio.StreamWriter] = []
        self._held: list[asyncio.StreamWriter] = []
        self.next_commit: Cut | None = None
        self.refusing = False
        self.connections = 0
        """How often somebody wanted to connect."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refusing:
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._far)
        self._ends += [writer, far_writer]
        answers = asyncio.create_task(self._answers(far_reader, writer, far_writer))
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while data := await reader.read(65536):
                if self.next_commit is not None and b"COMMIT" in data:
                    cut, self.next_commit = self.next_commit, None
                    answers.cancel()
                    if cut is not Cut.BEFORE_COMMIT:
                        far_writer.write(data)
                        await far_reader.read(65536)
                    if cut is Cut.SILENT:
                        self._held.append(far_writer)
                    else:
                        far_writer.close()
                    break
                far_writer.write(data)
        answers.cancel()
        writer.close()
        if far_writer not in self._held:
            far_writer.close()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far_writer: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()
        far_writer.close()

    def cut(self) -> None:
        """Cut all that is connected."""
        for end in self._ends:
            end.close()

    def close(self) -> None:
        for end in (*self._ends, *self._held):
            end.close()


@asynccontextmanager
async def wire_to(where: PostgresUrl) -> AsyncIterator[tuple[Wire, PostgresUrl]]:
    """Give a wire to a database, and the database's address at our end of it."""
    authority, _, name = where.url.removeprefix("postgresql://").rpartition("/")
    user, _, address = authority.rpartition("@")
    host, _, port = address.rpartition(":")
    wire = Wire(host, int(port))
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    here = server.sockets[0].getsockname()[1]
    try:
        yield wire, PostgresUrl(f"postgresql://{user}@127.0.0.1:{here}/{name}")
    finally:
        server.close()
        wire.close()
