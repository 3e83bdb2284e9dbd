"""Whether an engine is ready: GET on its port answers 200, or, without a path, the port accepts a connection."""

from __future__ import annotations

import asyncio
import contextlib

_HEAD_BYTES = 4096


async def ready(address: str, port: int, path: str | None, timeout_seconds: float) -> bool:
    """Return whether the engine says that it can serve; never raises for what an engine does."""
    try:
        async with asyncio.timeout(timeout_seconds):
            status = await _status(address, port, path)
    except (OSError, TimeoutError, ValueError):
        return False
    return path is None or status == 200


async def _status(address: str, port: int, path: str | None) -> int | None:
    reader, writer = await asyncio.open_connection(address, port, limit=_HEAD_BYTES)
    try:
        if path is None:
            return None
        host = f"[{address}]" if ":" in address else address
        head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: motorpool-agent\r\nConnection: close"
        writer.write(f"{head}\r\n\r\n".encode("ascii", "ignore"))
        await writer.drain()
        line = await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    version, _, rest = line.partition(b" ")
    return int(rest[:3]) if version.startswith(b"HTTP/") else None
