"""Executors that come and go while the agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from motorpool_agent.reconcile.observation import ExecutorStatus
from motorpool_agent.runtime.docker.executor import DockerExecutor
from motorpool_agent.runtime.supervisor import Supervisor
from tests.agent.runtime.docker.sockets import engine_at
from tests.agent.runtime.fakes import DEADLINE_SECONDS

PROCESS = ExecutorStatus(executor="process", works=True)


async def test_a_container_engine_comes_and_goes(
    tmp_path: Path, make: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Whether containers can run is known from the first look on, and told anew whenever that changes.
    """
    socket = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    changed = asyncio.Event()
    supervisor = make(notify=changed.set)
    await supervisor.adopt()

    async def docker_that_works(works: bool) -> ExecutorStatus:  # reads like a sentence
        async with asyncio.timeout(DEADLINE_SECONDS):
            while supervisor.executors()["docker"].works != works:
                changed.clear()
                await changed.wait()
        return supervisor.executors()["docker"]

    absent = supervisor.executors()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(engine_at(socket))
        there = await docker_that_works(True)
    gone = await docker_that_works(False)

    assert PROCESS == absent["process"]
    assert not absent["docker"].works
    assert f"does not answer at unix://{socket} (No such file or directory)" in absent["docker"].message
    assert "apt-get install docker.io" in absent["docker"].message
    assert "Docker Engine 27.1.2" == there.message
    assert "does not answer" in gone.message


async def test_an_engine_that_may_not_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An engine that answers with a refusal or with nonsense does not work, and its words are told.
    """
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    executor = DockerExecutor(tmp_path / "data", "c")
    async with engine_at(tmp_path / "docker.sock", status=b"403 Forbidden"):
        forbidden = await executor.status()
    async with engine_at(tmp_path / "docker.sock", body=b"<html>"):
        nonsense = await executor.status()

    assert [False, False] == [forbidden.works, nonsense.works]
    assert "403 Forbidden" in forbidden.message
    assert "makes no sense" in nonsense.message


async def test_an_engine_on_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An engine on TCP is asked through the docker package; one that is not there does not work.
    """
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")

    status = await DockerExecutor(Path("data"), "c").status()

    assert not status.works
    assert "does not answer at tcp://127.0.0.1:1" in status.message
