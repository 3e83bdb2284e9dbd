"""Health as balancers ask for it: true to the store, and answered while the database is not."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from motorpool_controller.services import authentication
from motorpool_controller.services.health import DECISIONS, WHOLE, WRITES
from motorpool_controller.services.roles import Role
from motorpool_controller.store import beside, store
from motorpool_controller.store.pool import READERS
from tests.controller.clusters import running, settings
from tests.controller.rows import node, putting
from tests.controller.running import Metadata, Running, reason
from tests.postgresql import PostgresServer

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
AT_ONCE_SECONDS = 5.0
"""Far below what a database that hangs makes one wait."""


async def check(channel: grpc.aio.Channel, metadata: Metadata, service: str = WHOLE) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)
    answer = await stub.Check(request, metadata=metadata, timeout=AT_ONCE_SECONDS)
    return int(answer.status)


async def until_parts(channel: grpc.aio.Channel, metadata: Metadata, expected: dict[str, int]) -> None:
    """Ask again and again, each time answered at once, until the parts are so."""
    async with asyncio.timeout(60):
        while {part: await check(channel, metadata, part) for part in expected} != expected:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.02)


async def test_every_part_is_well(listeners: Running) -> None:
    """
    The whole, each service, writing and deciding are served; what there is not is NOT_FOUND.
    """
    admin = listeners.bearer(Role.READER)
    parts = [WHOLE, WRITES, DECISIONS, "motorpool.v1.DeploymentService", "motorpool.v1.AgentService"]

    assert [SERVING] * 5 == [await check(listeners.public, admin, part) for part in parts]
    with pytest.raises(grpc.RpcError) as caught:
        await check(listeners.public, admin, "motorpool.v1.Invented")
    assert (grpc.StatusCode.NOT_FOUND, "NOT_FOUND") == reason(caught.value)


@pytest.mark.promise("P6")
async def test_health_is_for_those_who_are_known(listeners: Running) -> None:
    """
    Without a token nobody is told how we are, by Check or by Watch.
    """
    stub = health_pb2_grpc.HealthStub(listeners.public)
    with pytest.raises(grpc.RpcError) as checked:
        await stub.Check(health_pb2.HealthCheckRequest())
    with pytest.raises(grpc.RpcError) as watched:
        await stub.Watch(health_pb2.HealthCheckRequest()).read()

    expected = (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_MISSING")
    assert [expected, expected] == [reason(checked.value), reason(watched.value)]


async def test_what_does_not_decide_says_so(listeners: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A loop that hangs is told of its own part, to who watches it, too; reading and writing go on.
    """
    monkeypatch.setattr(listeners.server.health, "_look_seconds", 0.01)
    admin = listeners.bearer(Role.READER)
    watching = health_pb2_grpc.HealthStub(listeners.public).Watch(
        health_pb2.HealthCheckRequest(service=DECISIONS), metadata=admin
    )
    async with asyncio.timeout(AT_ONCE_SECONDS):
        first = await watching.read()
        listeners.server.health.undecided = lambda: "a decision was begun 400 s ago"
        second = await watching.read()
    watching.cancel()

    assert [SERVING, NOT_SERVING] == [first.status, second.status]
    assert [SERVING, SERVING] == [await check(listeners.public, admin, part) for part in (WHOLE, WRITES)]


async def test_reads_that_hang_do_not_hold_health_up(listeners: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While the database answers no read, who asked before is told so at once; who did not has to prove who he is.
    """
    monkeypatch.setattr(beside, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(beside, "SECONDS", 1.0)
    monkeypatch.setattr(authentication, "HEALTH_SECONDS", 0.05)
    known, unknown = listeners.bearer(Role.READER), listeners.bearer(Role.READER)
    assert SERVING == await check(listeners.public, known)
    answering = threading.Event()
    hanging = [asyncio.create_task(listeners.store.beside(partial(answering.wait, 60))) for _ in range(READERS)]
    try:
        await until_parts(listeners.public, known, {WHOLE: NOT_SERVING, WRITES: SERVING})
        with pytest.raises(grpc.RpcError) as caught:
            await check(listeners.public, unknown)
    finally:
        answering.set()
        await asyncio.gather(*hanging, return_exceptions=True)
    await until_parts(listeners.public, known, {WHOLE: SERVING})

    assert "STORE_BUSY" == reason(caught.value)[1]


async def test_revoked_token_learns_nothing_while_the_database_answers(listeners: Running) -> None:
    """
    That somebody asked before counts only for as long as nobody can look.
    """
    token = listeners.bearer(Role.READER)
    assert SERVING == await check(listeners.public, token)
    listeners.store.tokens.delete(token[0][1].split("_")[1])

    for _ in range(2):
        with pytest.raises(grpc.RpcError) as caught:
            await check(listeners.public, token)
        assert (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID") == reason(caught.value)


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Have the server answer nothing, and refuse nothing, as where its disk hangs."""
    first = psutil.Process(int((server.folder / "data" / "postmaster.pid").read_text().split()[0]))
    processes = [first, *first.children(recursive=True)]
    for each in processes:
        os.kill(each.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in processes:
            os.kill(each.pid, signal.SIGCONT)


@pytest.mark.needs("pg_ctlcluster")
async def test_frozen_database(tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A database that hangs in the middle of a write is told of at once, and the change is accepted when it is back.
    """
    monkeypatch.setattr(beside, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(store, "STUCK_SECONDS", 0.5)
    made = settings(tmp_path / "controller", database_url=postgres.new())
    async with running(made, reconcile=False) as cluster:
        credentials = grpc.ssl_channel_credentials(cluster.authority.pem.encode())
        async with grpc.aio.secure_channel(cluster.public_target, credentials) as channel:
            await until_parts(channel, cluster.admin, {WHOLE: SERVING, WRITES: SERVING})
            with frozen(postgres):
                writing = asyncio.create_task(cluster.store.commit(putting(node("a"))))
                await until_parts(channel, cluster.admin, {WHOLE: NOT_SERVING, WRITES: NOT_SERVING})
                assert not writing.done()
            await writing
            await until_parts(channel, cluster.admin, {WHOLE: SERVING, WRITES: SERVING})
