"""Whether an engine computes: a request that only one that does answers. Its health says nothing of other members."""

from __future__ import annotations

import asyncio
import contextlib

from motorpool_agent.reconcile.handle import Inference
from motorpool_agent.runtime.probe import Readiness

_HEAD_BYTES = 65_536
_BODY_CHARACTERS = 300
_SERVER_ERROR = 500


async def asked(address: str, port: int, inference: Inference, api_key: str) -> Readiness:
    """Return whether the engine answered, and what it did instead if it did not.

    What it refuses as a bad request was answered by an engine that is there: the fault is then not in its members.
    """
    try:
        async with asyncio.timeout(inference.timeout_seconds):
            status, body = await _answer(address, port, inference, api_key)
    except TimeoutError:
        return Readiness(False, f"POST {inference.path} was not answered within {inference.timeout_seconds:g} s")
    except (OSError, ValueError) as error:
        return Readiness(False, f"POST {inference.path} was not answered: {error}")
    if status >= _SERVER_ERROR:
        return Readiness(False, f"POST {inference.path} was answered with status {status}: {body[:_BODY_CHARACTERS]}")
    return Readiness(True)


async def _answer(address: str, port: int, inference: Inference, api_key: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection(address, port, limit=_HEAD_BYTES)
    body = inference.body.encode()
    host = f"[{address}]" if ":" in address else address
    head = [
        f"POST {inference.path} HTTP/1.1",
        f"Host: {host}:{port}",
        "User-Agent: motorpool-agent",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *([f"Authorization: Bearer {api_key}"] if api_key else []),
    ]
    try:
        writer.write("\r\n".join([*head, "", ""]).encode("ascii", "ignore") + body)
        await writer.drain()
        line = await reader.readline()
        rest = (await reader.read(_HEAD_BYTES)).decode("utf-8", "replace")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    version, _, status = line.partition(b" ")
    if not version.startswith(b"HTTP/"):
        raise ValueError("what listens there speaks no HTTP")
    return int(status[:3]), rest.partition("\r\n\r\n")[2].strip()
