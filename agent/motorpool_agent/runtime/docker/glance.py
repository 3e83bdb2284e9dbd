"""A first look at the Docker Engine without the ``docker`` package: most nodes have nothing there that is ours."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

_SECONDS = 5.0
_LIMIT_BYTES = 16 << 20
SCHEME = "unix://"

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A container as the list of all shows it."""

    Id: str
    Labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A part of an engine, the engine itself first."""

    Name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What an engine says of itself."""

    Version: str = ""
    Components: tuple[Component, ...] = ()

    @property
    def words(self) -> str:
        """Return its name and version, e.g. ``Docker Engine 27.1.2``, ``Podman Engine 4.3.1``."""
        # Docker's own first part is just "Engine".
        name = self.Components[0].Name if self.Components else ""
        return f"{name if name.removesuffix('Engine').strip() else 'Docker Engine'} {self.Version}".strip()


async def glance(address: str, filters: Mapping[str, list[str]]) -> list[Listed]:
    """Return the containers that match; none where no Docker Engine listens. Raise ``OSError`` if one fails to answer.

    An engine on TCP is not looked at.
    """
    if not address.startswith(SCHEME) or not await asyncio.to_thread(Path(address.removeprefix(SCHEME)).is_socket):
        return []
    query = urllib.parse.urlencode({"all": "1", "filters": msgspec.json.encode(filters).decode()})
    return await _asked(address, f"/containers/json?{query}", list[Listed])


async def engine(address: str) -> Engine:
    """Return what listens at a socket; raise ``OSError`` if nobody does, or it fails to answer."""
    return await _asked(address, "/version", Engine)


async def _asked(address: str, what: str, kind: type[_Answer]) -> _Answer:
    # With HTTP 1.0, whose answer has no chunks and ends with the connection.
    async with asyncio.timeout(_SECONDS):
        reader, writer = await asyncio.open_unix_connection(address.removeprefix(SCHEME))
        try:
            writer.write(f"GET {what} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            await writer.drain()
            content = await reader.read(_LIMIT_BYTES)
            while content and (more := await reader.read(_LIMIT_BYTES)):
                content += more
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    head, _, body = content.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0]
    if b" 200 " not in status:
        raise OSError(f"{address} answered {status.decode(errors='replace')[:100]!r}")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise OSError(f"{address} answered {what.partition('?')[0]} with what makes no sense: {error}") from error
