"""What a fleet costs its store while nothing is asked of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from motorpool import v1
from motorpool_controller.config import Settings
from motorpool_controller.domain.fleet import NodeState
from motorpool_controller.store.store import Store
from tests.controller.agent_client import FACTS, GIB, Agent, Session, digest_over, running_instance
from tests.controller.clusters import Cluster, running, settings

AGENTS = 200
ROUNDS = 24
"""Heartbeats of each agent, 10 seconds apart on the controller's clock: four minutes."""
AT_ONCE = 16


@pytest.fixture(params=["sqlite", "postgresql"], name="made")
def _made(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("postgres").new() if request.param == "postgresql" else None
    return settings(tmp_path / "data", database_url=url)


@pytest.mark.slow
@pytest.mark.promise("P7")
@pytest.mark.timeout(300)
async def test_two_hundred_agents_that_only_live_write_nothing(made: Settings) -> None:
    """
    200 agents in session, of which one serves a model, tell for minutes how their memory, devices and instances fare,
    each time something else: no statement that writes reaches the database, and no revision is given.
    """
    async with running(made) as cluster:
        sessions = [await serving(cluster), *await joined(cluster)]
        await cluster.live_settled()
        written = statements_that_write(cluster.store)
        revision = cluster.store.view.revision
        for number in range(ROUNDS):
            cluster.pass_time(10)
            await asyncio.gather(*(beat(session, number) for session in sessions))
            if number % 2:
                await asyncio.gather(*(session.barrier() for session in sessions))
        await cluster.live_settled()
        connected = cluster.live.connected()
        states = {node.state for node in cluster.store.view.nodes.values()}

        assert AGENTS == len(connected)
        assert {NodeState.READY} == states
        assert [] == written
        assert revision == cluster.store.view.revision
        # The count counts: what is asked for is written.
        await cluster.deploy("another", path="/models/other.gguf")
        assert written
        await asyncio.gather(*(session.channel.close() for session in sessions))


async def joined(cluster: Cluster) -> list[Session]:
    """
    Return the sessions of all other machines, each with a device.
    """
    admitted = asyncio.Semaphore(AT_ONCE)

    async def join(number: int) -> Session:
        async with admitted:
            agent = Agent(cluster, f"n{number}")
            agent.show(device())
            return await agent.joined()

    return await asyncio.gather(*(join(number) for number in range(1, AGENTS)))


async def serving(cluster: Cluster) -> Session:
    """
    Return the session of a machine that runs an instance.
    """
    agent = Agent(cluster, "serving")
    agent.show(device())
    session = await agent.joined()
    await cluster.deploy("served")
    await session.answer(FACTS)
    assignment = await session.assignment()
    await session.change(running_instance(assignment))
    await cluster.until(lambda: [each for each in cluster.store.view.instances.values() if each.endpoint])
    return session


def device() -> v1.Device:
    memory = v1.DeviceMemory(total_bytes=80 * GIB)
    return v1.Device(device_id="gpu-0", vendor="v", framework="f", memory=memory, health=v1.HEALTH_HEALTHY)


async def beat(session: Session, number: int) -> None:
    """
    Send a heartbeat with other figures than the last one's, by little and by much.
    """
    used = (number % 5) * 9 * GIB
    await session.send(
        heartbeat=v1.Heartbeat(
            observed_digest=digest_over(session.agent.objects),
            usage=v1.NodeUsage(
                memory_used_bytes=GIB + number % 7 * GIB,
                memory_available_bytes=15 * GIB - number % 7 * GIB,
                memory_instances_bytes=0,
                devices=[
                    v1.DeviceUsage(device_id="gpu-0", used_bytes=used, utilization_ratio=number % 10 / 10),
                ],
            ),
        )
    )


def statements_that_write(store: Store) -> list[str]:
    """
    Return a list that every later INSERT, UPDATE or DELETE is put into.
    """
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: Any) -> None:
        if statement.split(None, 1)[0].upper() in {"INSERT", "UPDATE", "DELETE"}:
            found.append(statement)

    event.listen(store._engine, "before_cursor_execute", note)
    return found
