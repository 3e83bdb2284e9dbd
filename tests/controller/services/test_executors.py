"""Executors that agents tell of: in the node, in placement, and gone again."""

from __future__ import annotations

from motorpool import v1
from motorpool_controller.domain.placement import Refusal
from tests.controller.agent_client import FACTS, Agent
from tests.controller.clusters import Cluster

PROCESS = v1.ExecutorStatus(executor="process", works=True)
ENGINE = v1.ExecutorStatus(executor="docker", works=True, message="Docker Engine 27.1")
NO_ENGINE = v1.ExecutorStatus(executor="docker", works=False, message="no answer at /run/x.sock; install docker.io")


async def node_of(cluster: Cluster) -> v1.Node:
    return await cluster.nodes.GetNode(v1.GetNodeRequest(name="nodes/a"), metadata=cluster.admin)


async def refused(cluster: Cluster) -> v1.Refusal:
    """Deploy in a container, and return the row that keeps it from the node."""
    await cluster.deploy(image="engines/llama:1")
    row = await cluster.until(lambda: _row(cluster))
    (instance,) = cluster.store.view.instances
    told = await cluster.instances.GetInstance(v1.GetInstanceRequest(name=instance), metadata=cluster.admin)
    assert [row.message] == [refusal.message for refusal in told.refusals]
    return told.refusals[0]


def _row(cluster: Cluster) -> Refusal | None:
    refusals = [row for instance in cluster.store.view.instances.values() for row in instance.refusals]
    return next((row for row in refusals if row.reason == "EXECUTOR_MISSING"), None)


async def test_a_node_shows_its_executors(cluster: Cluster, agent: Agent) -> None:
    """
    What the agent says of its executors is the node's, and follows every change.
    """
    session = await agent.joined()
    await session.change(PROCESS, ENGINE)
    await session.barrier()
    before = (await node_of(cluster)).executors
    await session.change(NO_ENGINE, removed=["executor/process"])
    await session.barrier()

    assert [ENGINE, PROCESS] == list(before)
    assert [NO_ENGINE] == list((await node_of(cluster)).executors)


async def test_a_container_waits_for_an_engine(cluster: Cluster, agent: Agent) -> None:
    """
    Without a container engine the node is refused with the agent's own words, and placed on as soon as there is one.
    """
    session = await agent.joined()
    await session.change(PROCESS, NO_ENGINE)
    await session.barrier()
    row = await refused(cluster)

    await session.change(ENGINE)
    await session.answer(FACTS)
    assignment = await session.assignment()

    assert ("executor", "nodes/a") == (row.stage, row.subject)
    assert "There is no container engine on nodes/a: no answer at /run/x.sock; install docker.io." == row.message
    assert "engines/llama:1" == assignment.image


async def test_an_agent_that_tells_nothing_is_believed(cluster: Cluster, agent: Agent) -> None:
    """
    An older agent says nothing of executors: it is placed on as before.
    """
    session = await agent.joined()
    await cluster.deploy(image="engines/llama:1")
    await session.answer(FACTS)

    assert "engines/llama:1" == (await session.assignment()).image
