"""The launcher's socket: one agent's user, a line a request, a few at once."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import sys

import msgspec

from motorpool_agent.launcher.service import Launcher
from motorpool_agent.runtime.systemd.requests import MOST_BYTES, Answer, Request

log = logging.getLogger(__name__)

_AT_ONCE = 16
_READ_SECONDS = 10.0
_CREDENTIALS = struct.Struct("3i")
"""struct ucred of unix(7): process, user, group."""


class Server:
    """Answers whoever is the agent's user, or root, until nobody asked for a while."""

    def __init__(self, launcher: Launcher, uid: int, *, idle_seconds: float | None) -> None:
        self._launcher = launcher
        self._users = {0, uid}
        self._idle_seconds = idle_seconds
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._open = 0
        self._quiet = asyncio.Event()

    async def serve(self, listener: socket.socket) -> None:
        """Answer at a listening socket. Without anybody asking for ``idle_seconds`` it returns: systemd keeps it."""
        # The path is systemd's, and stays; Python before 3.13 never removes it.
        if sys.version_info >= (3, 13):
            server = await asyncio.start_unix_server(
                self._connected, sock=listener, limit=MOST_BYTES, cleanup_socket=False
            )
        else:
            server = await asyncio.start_unix_server(self._connected, sock=listener, limit=MOST_BYTES)
        async with server:
            if self._idle_seconds is None:
                await server.serve_forever()
            while True:
                self._quiet.clear()
                try:
                    async with asyncio.timeout(self._idle_seconds):
                        await self._quiet.wait()
                except TimeoutError:
                    if not self._open:
                        return

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with self._free:
                answer = await self._answer(reader, writer)
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        except (OSError, TimeoutError):
            log.info("connection lost")
        finally:
            self._open -= 1
            self._quiet.set()
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
        connection: socket.socket = writer.get_extra_info("socket")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(credentials)
        try:
            # Whoever it is: what was not read would break the connection before the answer is.
            async with asyncio.timeout(_READ_SECONDS):
                line = await reader.readline()
            if uid not in self._users:
                log.warning("user refused", extra={"uid": uid, "pid": pid})
                return Answer(reason="POLICY_DENIED", message=f"user {uid} is not the agent's", final=True)
            request: Request = msgspec.json.decode(line, type=Request)
        except ValueError as error:  # a line too long; no JSON; fields that are not there
            return Answer(
                reason="REQUEST_INVALID", message=f"the launcher cannot read the request: {error}", final=True
            )
        return await self._launcher.answer(request)


def listening(path: str | None) -> socket.socket:
    """Return the socket that systemd passed on, or one made at a path, which everybody may ask and few are answered."""
    if path is None:
        if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
            raise OSError("systemd passed no socket on; start motorpool-launcher.socket, or give --socket")
        return socket.socket(fileno=3)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o666)  # noqa: PTH101, S103
    listener.listen(_AT_ONCE)
    return listener
