"""The readiness probe, against real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from motorpool_agent.reconcile.handle import LaunchRecord
from motorpool_agent.reconcile.observation import Rendered
from motorpool_agent.runtime.probe import ready, serves


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

    assert expected == (await ready("127.0.0.1", port, "/health", 5)).ready


async def test_without_path_a_connection_is_enough(port: int) -> None:
    """
    A backend without a probe is ready when its port accepts.
    """
    assert (await ready("127.0.0.1", port, None, 5)).ready


async def test_nobody_listens(port: int) -> None:
    """
    A refused connection is not ready.
    """
    assert not (await ready("127.0.0.1", 1, "/health", 5)).ready


_LISTED = b'{"data": [{"id": "other"}, {"id": "tiny", "aliases": ["chat"]}]}'


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n" + _LISTED, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s and more" % (len(_LISTED), _LISTED), ""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n"
            % (_LISTED[:5], len(_LISTED) - 5, _LISTED[5:]),
            "",
        ),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data": [{"id": "a"}, {"id": "b"}]}', "/v1/models names a, b, not chat"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data": []}', "/v1/models names none, not chat"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "/v1/models answers no list of models"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, "/v1/models answers no list of models"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "/v1/models does not answer: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "/v1/models does not answer: "),
    ],
)
async def test_a_list_of_models_has_to_name_the_served_one(
    answer: list[bytes], port: int, content: bytes, missing: str
) -> None:
    """
    Where a backend lists its models, ready is a list with the served name or alias; else it is said what it was.
    """
    answer[0] = content
    record = LaunchRecord(
        executor="process",
        argv=("engine",),
        environment={},
        working_directory="",
        ports={"http": port},
        listen_address="127.0.0.1",
        rendered=Rendered(executor="process", argv=("engine",)),
        probe_path="/health",
        models_path="/v1/models",
        model="chat",
        probe_timeout_seconds=5,
    )
    seen = await serves("127.0.0.1", port, record, "key")

    assert (not missing) == seen.ready
    assert seen.missing.startswith(missing)
