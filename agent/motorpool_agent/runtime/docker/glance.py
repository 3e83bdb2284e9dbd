"""A first look at the Docker Engine without the ``docker`` package: most nodes have nothing there that is ours."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_SECONDS = 5.0
_LIMIT_BYTES = 16 << 20
_SCHEME = "unix://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A container as the list of all shows it."""

    Id: str
    Labels: Mapping[str, str] = field(default_factory=dict)


async def glance(address: str, filters: Mapping[str, list[str]]) -> list[Listed]:
    """Return the containers that match; none where no Docker Engine listens. Raise ``OSError`` if one fails to answer.

    Asked for with HTTP 1.0, whose answer has no chunks and ends with the connection. An engine on TCP is not looked at.
    """
    path = Path(address.removeprefix(_SCHEME))
    if not address.startswith(_SCHEME) or not await asyncio.to_thread(path.is_socket):
        return []
    query = urllib.parse.urlencode({"all": "1", "filters": msgspec.json.encode(filters).decode()})
    async with asyncio.timeout(_SECONDS):
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(f"GET /containers/json?{query} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
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
        return msgspec.json.decode(body, type=list[Listed])
    except msgspec.MsgspecError as error:
        raise OSError(f"{address} answered what is no list of containers: {error}") from error
