"""The host's end of a plugin's socket: asks, and waits for the answer of that id."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable

import msgspec

from motorpool_sdk import WireError, wire


class ChannelClosedError(Exception):
    """The other end is gone, or spoke no protocol of ours."""


class Channel:
    """Requests and responses over one socket. A lost channel answers nothing more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[wire.Response]] = {}
        self._listener = asyncio.get_running_loop().create_task(self._listen())

    @classmethod
    async def open(cls, connection: socket.socket) -> Channel:
        """Return a channel over ``connection``, which it owns from now on."""
        reader, writer = await asyncio.open_connection(sock=connection)
        return cls(reader, writer)

    def on_closed(self, closed: Callable[[], None]) -> None:
        """Call ``closed`` once the other end is gone; not when this end closes."""
        self._listener.add_done_callback(lambda task: None if task.cancelled() else closed())

    async def ask(self, method: str, body: object, timeout_seconds: float) -> wire.Response:
        """Return the response; raises TimeoutError, ChannelClosedError, or WireError for a body too large."""
        loop = asyncio.get_running_loop()
        number = next(self._ids)
        deadline = loop.time() + timeout_seconds  # The loop's clock is time.monotonic, which the child reads.
        content = msgspec.Raw(wire.encode(body))
        request = wire.frame(wire.Request(id=number, method=method, deadline=deadline, body=content))
        if self._listener.done():
            raise ChannelClosedError
        answered: asyncio.Future[wire.Response] = loop.create_future()
        self._waiting[number] = answered
        try:
            async with asyncio.timeout_at(deadline):
                with contextlib.suppress(ConnectionError):  # The listener sees it too, and says why.
                    self._writer.write(request)
                    await self._writer.drain()
                return await answered
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """Close this end; the process at the other one ends by it."""
        self._listener.cancel()
        self._answer_none("was stopped")
        self._writer.close()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await self._writer.wait_closed()

    async def _listen(self) -> None:
        reason = ""
        try:
            while True:
                header = await self._reader.readexactly(wire.LENGTH_BYTES)
                content = await self._reader.readexactly(wire.length(header))
                response = wire.decode(content, wire.Response)
                answered = self._waiting.get(response.id)
                if answered is not None and not answered.done():
                    answered.set_result(response)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except WireError as error:
            reason = f"sent what it must not: {error}"
        self._answer_none(reason)

    def _answer_none(self, reason: str) -> None:
        for answered in self._waiting.values():
            if not answered.done():
                answered.set_exception(ChannelClosedError(reason))
