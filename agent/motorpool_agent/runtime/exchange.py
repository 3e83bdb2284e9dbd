"""One HTTP request to an engine of this node, bounded in time and bytes, whatever it is that answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

_LINE_BYTES = 4096
_MOST_HEADERS = 100
_MOST_BYTES = 1 << 20


class Request(NamedTuple):
    """What is asked; a body is JSON."""

    method: str
    path: str
    api_key: str = ""
    body: bytes = b""


class NoAnswerError(Exception):
    """It did not answer in time, or not as HTTP servers do; the message says which."""


async def status_of(address: str, port: int, request: Request, timeout_seconds: float) -> int:
    """Return the status of the answer, whatever its body is."""
    async with _exchange(address, port, request, timeout_seconds) as reader:
        return await _status(reader)


async def answer(address: str, port: int, request: Request, timeout_seconds: float) -> tuple[int, bytes]:
    """Return the answer's status and body, which is cut off at a mebibyte."""
    async with _exchange(address, port, request, timeout_seconds) as reader:
        return await _status(reader), await _body(reader)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and return when it is."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def _exchange(
    address: str, port: int, request: Request, timeout_seconds: float
) -> AsyncIterator[asyncio.StreamReader]:
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(address, port, limit=_LINE_BYTES)
            try:
                writer.write(_written(address, port, request))
                await writer.drain()
                yield reader
            finally:
                await closed(writer)
    except TimeoutError:
        raise NoAnswerError(f"nothing within {timeout_seconds:g} s") from None
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        raise NoAnswerError(str(error)) from error


def _written(address: str, port: int, request: Request) -> bytes:
    host = f"[{address}]" if ":" in address else address
    lines = [
        f"{request.method} {request.path} HTTP/1.1",
        f"Host: {host}:{port}",
        "User-Agent: motorpool-agent",
        "Connection: close",
    ]
    if request.body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(request.body)}"]
    if request.api_key:
        lines.append(f"Authorization: Bearer {request.api_key}")
    return "\r\n".join([*lines, "", ""]).encode("ascii", "ignore") + request.body


async def _status(reader: asyncio.StreamReader) -> int:
    version, _, rest = (await reader.readline()).partition(b" ")
    if not version.startswith(b"HTTP/"):
        raise ValueError("it speaks no HTTP")
    return int(rest[:3])


async def _body(reader: asyncio.StreamReader) -> bytes:
    """Return the body, as far as it is not endless: to its length, in its chunks, or to the connection's end."""
    headers: dict[bytes, bytes] = {}
    for _ in range(_MOST_HEADERS):
        name, colon, value = (await reader.readline()).partition(b":")
        if not colon:
            break
        headers[name.strip().lower()] = value.strip().lower()
    if headers.get(b"transfer-encoding") == b"chunked":
        return await _chunks(reader)
    length = headers.get(b"content-length")
    return await _at_most(reader, _MOST_BYTES if length is None else min(int(length), _MOST_BYTES))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    content = b""
    while len(content) < _MOST_BYTES and (size := int((await reader.readline()).partition(b";")[0], 16)) > 0:
        content += await reader.readexactly(min(size, _MOST_BYTES))
        await reader.readline()
    return content


async def _at_most(reader: asyncio.StreamReader, count: int) -> bytes:
    content = b""
    while len(content) < count and (part := await reader.read(count - len(content))):
        content += part
    return content
