"""Whether an engine is ready: GET on its port answers 200, or, without a path, the port accepts a connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import NamedTuple

from motorpool_agent.reconcile.handle import LaunchRecord

_LINE_BYTES = 4096
_MOST_HEADERS = 100
_MOST_BYTES = 1 << 20


class Readiness(NamedTuple):
    """Whether an engine says that it can serve, and if it does not, what it said instead."""

    ready: bool
    missing: str = ""


class _NoAnswerError(Exception):
    """It does not answer as HTTP servers do."""


async def ready(address: str, port: int, path: str | None, timeout_seconds: float) -> Readiness:
    """Return whether the engine is well; never raises for what an engine does."""
    if path is None:
        return await _accepts(address, port, timeout_seconds)
    try:
        status, _ = await _get(address, port, path, timeout_seconds, whole=False)
    except _NoAnswerError as error:
        return Readiness(False, f"{path} does not answer: {error}")
    return Readiness(status == 200, "" if status == 200 else f"{path} answers {status}")


async def serves(address: str, port: int, record: LaunchRecord, api_key: str) -> Readiness:
    """Return whether the engine is well and, where it lists its models, names the one that it is to serve."""
    timeout_seconds, path = record.probe_timeout_seconds, record.models_path
    well = await ready(address, port, record.probe_path, timeout_seconds)
    if not well.ready or not path:
        return well
    try:
        status, body = await _get(address, port, path, timeout_seconds, whole=True, api_key=api_key)
    except _NoAnswerError as error:
        return Readiness(False, f"{path} does not answer: {error}")
    if status != 200:
        return Readiness(False, f"{path} answers {status}")
    names = _models(body)
    if names is None:
        return Readiness(False, f"{path} answers no list of models")
    found = ", ".join(names[:5])[:200] or "none"
    return Readiness(True) if record.model in names else Readiness(False, f"{path} names {found}, not {record.model}")


async def _accepts(address: str, port: int, timeout_seconds: float) -> Readiness:
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(address, port)
            await _close(writer)
    except (OSError, TimeoutError):
        return Readiness(False, "its port accepts no connection")
    return Readiness(True)


async def _get(
    address: str, port: int, path: str, timeout_seconds: float, *, whole: bool, api_key: str = ""
) -> tuple[int, bytes]:
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(address, port, limit=_LINE_BYTES)
            try:
                writer.write(_request(address, port, path, api_key))
                await writer.drain()
                return await _status(reader), await _body(reader) if whole else b""
            finally:
                await _close(writer)
    except TimeoutError:
        raise _NoAnswerError(f"nothing within {timeout_seconds:g} s") from None
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        raise _NoAnswerError(str(error)) from error


def _request(address: str, port: int, path: str, api_key: str) -> bytes:
    host = f"[{address}]" if ":" in address else address
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "User-Agent: motorpool-agent", "Connection: close"]
    if api_key:
        lines.append(f"Authorization: Bearer {api_key}")
    return "\r\n".join([*lines, "", ""]).encode("ascii", "ignore")


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


def _models(body: bytes) -> list[str] | None:
    """Return the ids and aliases that a list of models has; None if it is none."""
    try:
        models = json.loads(body)["data"]
        names = [name for model in models for name in (model["id"], *(model.get("aliases") or ()))]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return [name for name in names if isinstance(name, str)]


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
