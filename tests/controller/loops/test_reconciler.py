import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from motorpool import v1
from motorpool_controller.domain.fleet import NodeState
from motorpool_controller.domain.workload import InstanceState
from motorpool_controller.loops import reconciler
from motorpool_controller.reconcile.decide import decide
from motorpool_controller.reconcile.world import Decision, World
from tests.controller.agent_client import FACTS, Agent, Session, running_instance
from tests.controller.clusters import Cluster, running, settings


@pytest.fixture(name="agent")
def _agent(cluster: Cluster) -> Agent:
    return Agent(cluster)


@pytest.fixture(name="cluster")
async def _cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(settings(tmp_path / "data")) as cluster:
        yield cluster


async def placed(cluster: Cluster, agent: Agent, **spec: Any) -> tuple[Session, v1.Assignment]:
    session = await agent.joined()
    await cluster.deploy(**spec)
    await session.answer(FACTS)
    assignment = await session.assignment()
    await session.change(running_instance(assignment))
    await cluster.until(lambda: [each for each in cluster.store.view.instances.values() if each.endpoint])
    return session, assignment


async def test_session_that_ends_is_no_lost_node(cluster: Cluster, agent: Agent) -> None:
    """
    A node without a session is ready until its lease ends, then unreachable, and so are its instances.
    """
    session, _ = await placed(cluster, agent)
    await session.close()
    cluster.pass_time(20)
    await cluster.live_settled()
    assert NodeState.READY is cluster.store.view.nodes[agent.name].state

    cluster.pass_time(30)

    await cluster.until(lambda: cluster.store.view.nodes[agent.name].state is NodeState.UNREACHABLE or None)
    (instance,) = cluster.store.view.instances.values()
    await cluster.until(
        lambda: next(iter(cluster.store.view.instances.values())).state is InstanceState.UNREACHABLE or None
    )
    assert instance.placement is not None


async def test_suspect_node_takes_nothing_until_it_is_heard(cluster: Cluster, agent: Agent) -> None:
    """
    A node whose session is gone is shown as suspect and gets nothing new, and nothing is written of it; back, it does.
    """
    session, assignment = await placed(cluster, agent)
    await session.close()
    await cluster.live_settled()
    before = cluster.store.view.nodes[agent.name]

    shown = await cluster.nodes.GetNode(v1.GetNodeRequest(name=agent.name), metadata=cluster.admin)
    await cluster.deploy("second")
    rows = await cluster.until(
        lambda: [
            row.reason
            for each in cluster.store.view.instances.values()
            if each.deployment == "deployments/second"
            for row in each.refusals
        ]
    )

    assert (v1.NODE_STATE_SUSPECT, True) == (shown.state, "no session" in shown.state_message)
    assert ["NODE_SUSPECT"] == rows
    assert before is cluster.store.view.nodes[agent.name]
    back = await agent.opened()
    await back.read_until(lambda: len(back.of("assignment")) == 2)
    assert assignment.assignment_id in {item.assignment.assignment_id for item in back.of("assignment")}


async def test_missed_heartbeats_make_a_node_suspect(cluster: Cluster, agent: Agent) -> None:
    """
    A node whose session stands is suspect after half a lease without a heartbeat, until the next one.
    """
    session, _ = await placed(cluster, agent)

    async def state() -> v1.NodeState.ValueType:
        shown = await cluster.nodes.GetNode(v1.GetNodeRequest(name=agent.name), metadata=cluster.admin)
        return shown.state

    before = await state()
    cluster.pass_time(25)
    silent = await state()
    await session.heartbeat()
    await session.barrier()

    assert [v1.NODE_STATE_READY, v1.NODE_STATE_SUSPECT, v1.NODE_STATE_READY] == [before, silent, await state()]


@pytest.mark.promise("P3")
async def test_lost_node_is_replaced_and_cleaned_up_on_return(cluster: Cluster, agent: Agent) -> None:
    """
    A lost node's instance is replaced elsewhere when its time is over; the old one gets a tombstone when the node is
    back, and its row stays until then.
    """
    session, assignment = await placed(cluster, agent, reschedule_after=Duration(seconds=5))
    other = await Agent(cluster, "b").joined()
    await session.close()

    cluster.pass_time(39)
    await other.heartbeat()
    await other.barrier()
    cluster.pass_time(2)
    await cluster.until(lambda: cluster.store.view.nodes["nodes/a"].state is NodeState.UNREACHABLE or None)
    cluster.pass_time(6)
    await other.answer(FACTS)
    replacement = await other.assignment()

    assert assignment.assignment_id != replacement.assignment_id
    assert {assignment.instance, replacement.instance} == set(cluster.store.view.instances)
    back = await agent.opened()
    tombstone = await back.tombstone()
    assert assignment.assignment_id == tombstone.assignment_id
    await back.change(removed=[f"instance/{assignment.assignment_id}"])
    await cluster.until(lambda: list(cluster.store.view.instances) == [replacement.instance] or None)


async def test_node_that_comes_back_in_time_keeps_its_work(cluster: Cluster, agent: Agent) -> None:
    """
    A node that returns before its instances were replaced has them running again, without being told anything new.
    """
    session, assignment = await placed(cluster, agent)
    await session.close()
    cluster.pass_time(50)
    await cluster.until(
        lambda: next(iter(cluster.store.view.instances.values())).state is InstanceState.UNREACHABLE or None
    )

    back = await agent.opened()

    await cluster.until(
        lambda: next(iter(cluster.store.view.instances.values())).state is InstanceState.RUNNING or None
    )
    assert assignment == await back.assignment()
    assert NodeState.READY is cluster.store.view.nodes[agent.name].state


async def test_suspended_agent_wakes_up(cluster: Cluster, agent: Agent) -> None:
    """
    A node whose session stands and whose heartbeats paused is ready again with the next, and its instances run again.
    """
    session, _ = await placed(cluster, agent)
    cluster.pass_time(50)
    await cluster.until(
        lambda: next(iter(cluster.store.view.instances.values())).state is InstanceState.UNREACHABLE or None
    )

    await session.heartbeat()

    await cluster.until(
        lambda: next(iter(cluster.store.view.instances.values())).state is InstanceState.RUNNING or None
    )


async def test_restart_gives_every_node_a_lease(tmp_path: Path) -> None:
    """
    After a start of the controller no node is lost before a whole lease went by, however long the controller was away.
    """
    made = settings(tmp_path / "data")
    async with running(made) as cluster:
        agent = Agent(cluster)
        await placed(cluster, agent)
    async with running(made) as cluster:
        cluster.pass_time(30)
        await cluster.live_settled()
        assert NodeState.READY is cluster.store.view.nodes[agent.name].state

        cluster.pass_time(20)

        await cluster.until(lambda: cluster.store.view.nodes[agent.name].state is NodeState.UNREACHABLE or None)


async def test_changed_file_is_read_again(cluster: Cluster, agent: Agent) -> None:
    """
    A new deployment of a path that was read a while ago has it read again; one of a path just read has not.
    """
    session, _ = await placed(cluster, agent)
    await cluster.deploy("second")
    await session.read_until(lambda: len(session.of("assignment")) == 2)

    cluster.pass_time(70)
    await session.heartbeat()
    await cluster.deploy("third")

    await session.answer(FACTS)
    await session.read_until(lambda: len(session.of("assignment")) == 3)


async def test_a_fault_in_deciding_loses_nothing(
    cluster: Cluster, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A decision that fails is made again with all it was to look at: a heartbeat says only once that a node is back.
    """
    session, _ = await placed(cluster, agent)
    cluster.pass_time(50)
    await cluster.until(lambda: cluster.store.view.nodes[agent.name].state is NodeState.UNREACHABLE or None)
    await cluster.live_settled()
    failed: list[World] = []

    def failing(world: World, now: datetime, fresh_ids: Iterator[str]) -> Decision:
        if not failed:
            failed.append(world)
            raise RuntimeError("made up")
        return decide(world, now, fresh_ids)

    monkeypatch.setattr(reconciler, "decide", failing)
    monkeypatch.setattr(reconciler, "RETRY_SECONDS", (0.01, 0.1))
    await session.heartbeat()

    await cluster.until(lambda: cluster.store.view.nodes[agent.name].state is NodeState.READY or None)
    assert failed


async def test_long_decision_in_vain_is_followed_by_a_rest(
    cluster: Cluster, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    While a fleet comes back there is always cause for a decision: those that are long and place nothing leave most of
    the time to who is let in.
    """
    await agent.joined()
    took, times = 2 * reconciler.LONG_SECONDS, list[tuple[float, float]]()

    def long(world: World, now: datetime, fresh_ids: Iterator[str]) -> Decision:
        began = time.monotonic()
        decision = decide(world, now, fresh_ids)
        time.sleep(took)
        times.append((began, time.monotonic()))
        return decision

    monkeypatch.setattr(reconciler, "decide", long)
    while len(times) < 4:
        cluster.live.changed.set()
        await asyncio.sleep(0.001)

    rests = [begin - end for (_, end), (begin, _) in itertools.pairwise(times)]
    assert min(rests) >= 0.9 * reconciler.REST_SHARE * took
