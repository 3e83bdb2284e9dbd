"""A socket that answers as a container engine does, as far as a first look goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

VERSION = b'{"Components": [{"Name": "Engine", "Version": "27.1.2"}], "Version": "27.1.2", "ApiVersion": "1.46"}'


@asynccontextmanager
async def engine_at(socket: Path, status: bytes = b"200 OK", body: bytes = VERSION) -> AsyncIterator[None]:
    """Answer everything with this; afterwards the socket's file is gone, too."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 " + status + b"\r\nContent-Type: application/json\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, socket)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.to_thread(socket.unlink)
