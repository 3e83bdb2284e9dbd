"""What nodes run short of: shown, told once, refused on, and no matter of the store while only figures move."""

from __future__ import annotations

from functools import partial

from google.protobuf.timestamp_pb2 import Timestamp

from motorpool import v1
from motorpool_controller.domain.placement import Refusal
from tests.controller.agent_client import FACTS, Agent
from tests.controller.clusters import Cluster

ENOUGH = v1.NodeCondition(condition="data_disk")
SHORT = v1.NodeCondition(
    condition="data_disk", pressed=True, message="1 MiB of 9 MiB are free; free some space", time=Timestamp(seconds=5)
)


def _row(cluster: Cluster) -> Refusal | None:
    refusals = [row for instance in cluster.store.view.instances.values() for row in instance.refusals]
    return next((row for row in refusals if row.reason == "NODE_PRESSED"), None)


def _is_left(cluster: Cluster, available: int) -> bool:
    usage = cluster.live.usage("nodes/a")
    return usage is not None and [available] == [each.available for each in usage.resources]


def events(cluster: Cluster) -> list[str]:
    told = {"NODE_PRESSED", "NODE_EASED"}
    return [
        each.reason for each in cluster.store.view.events.values() if each.reason in told and each.subject == "nodes/a"
    ]


async def node_of(cluster: Cluster) -> v1.Node:
    return await cluster.nodes.GetNode(v1.GetNodeRequest(name="nodes/a"), metadata=cluster.admin)


async def test_a_node_that_runs_short_takes_nothing_until_it_has_enough(cluster: Cluster, agent: Agent) -> None:
    """
    It is shown and refused with the agent's words, once in the events; what waits is placed as soon as it is over.
    """
    session = await agent.joined()
    await session.change(SHORT)
    await session.barrier()
    await cluster.deploy()
    row = await cluster.until(lambda: _row(cluster))
    shown = await node_of(cluster)
    await session.change(ENOUGH)
    await session.answer(FACTS)
    await session.assignment()

    assert [SHORT] == list(shown.conditions)
    assert "nodes/a runs short of data_disk: 1 MiB of 9 MiB" in row.message
    assert ["NODE_PRESSED", "NODE_EASED"] == events(cluster)
    assert [ENOUGH] == list((await node_of(cluster)).conditions)


async def test_figures_that_move_write_nothing(cluster: Cluster, agent: Agent) -> None:
    """
    What is left rides in heartbeats: it is shown as it was last measured, and nothing is written.
    """
    session = await agent.joined()
    await session.change(ENOUGH)
    await session.barrier()
    revision = cluster.store.view.revision
    for left in (9, 1, 8, 0):
        await session.heartbeat(resources=[v1.ResourceUsage(resource="data_disk", available=left, total=9, low=1)])
        await cluster.until(partial(_is_left, cluster, left))

    shown = (await node_of(cluster)).usage.resources
    assert [(0, 9, 1)] == [(each.available, each.total, each.low) for each in shown]
    assert revision == cluster.store.view.revision
