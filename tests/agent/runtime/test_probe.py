"""The readiness probe, against real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from motorpool_agent.runtime.probe import ready


@pytest_asyncio.fixture(name="answer")
async def _answer() -> AsyncIterator[list[bytes]]:
    """What the server on ``port`` answers; the first item of the list."""
    yield [b""]


@pytest_asyncio.fixture(name="port")
async def _port(answer: list[bytes]) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer[0])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 200\r\n\r\n", True),
        (b"HTTP/1.1 503 Loading model\r\n\r\n", False),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", False),
        (b"", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"HTTP/1.1 abc\r\n\r\n", False),
        (b"\xff" * 100_000, False),
    ],
)
async def test_only_200_is_ready(answer: list[bytes], port: int, content: bytes, expected: bool) -> None:
    """
    Ready is a 200; every other status, protocol or garbage is not, and raises nothing.
    """
    answer[0] = content

    assert expected == await ready("127.0.0.1", port, "/health", 5)


async def test_without_path_a_connection_is_enough(port: int) -> None:
    """
    A backend without a probe is ready when its port accepts.
    """
    assert await ready("127.0.0.1", port, None, 5)


async def test_nobody_listens(port: int) -> None:
    """
    A refused connection is not ready.
    """
    assert not await ready("127.0.0.1", 1, "/health", 5)
