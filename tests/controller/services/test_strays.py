"""What nodes have and no record places there: listed, and ended on an operator's word alone."""

from typing import Any

import grpc
import pytest

from motorpool import v1
from motorpool_controller.services.roles import Role
from tests.controller.agent_client import Agent, Session
from tests.controller.clusters import Cluster, reason
from tests.controller.services.test_maintenance import serving

FOUND = v1.ObservedInstance(
    assignment_id="u1",
    generation=2,
    instance="instances/lost-1",
    state=v1.INSTANCE_STATE_QUARANTINED,
    message="container 1 carries this agent's labels, and there is no handle of it",
    pid=77,
)


async def strays(cluster: Cluster, node: str = "") -> list[v1.StrayInstance]:
    answer = await cluster.instances.ListStrayInstances(v1.ListStrayInstancesRequest(node=node), metadata=cluster.admin)
    return list(answer.strays)


def release(cluster: Cluster, **asked: Any) -> Any:
    return cluster.instances.ReleaseStrayInstance(
        v1.ReleaseStrayInstanceRequest(**{"node": "nodes/a", "assignment_id": "u1", **asked}), metadata=cluster.admin
    )


async def shown(agent: Agent) -> Session:
    """Open a session whose agent has something that no record knows."""
    session = await agent.joined()
    await session.change(FOUND)
    await session.barrier()
    return session


@pytest.mark.promise("P3")
async def test_release_ends_a_stray_and_is_forgotten_then(cluster: Cluster, agent: Agent) -> None:
    """
    A stray is listed with what its node says and left alone; released, it has a tombstone, until nothing is left of it.
    """
    session = await shown(agent)
    [found] = await strays(cluster)
    assert ("nodes/a", "u1", "instances/lost-1", 2, 77) == (
        found.node,
        found.assignment_id,
        found.instance,
        found.generation,
        found.pid,
    )
    assert (FOUND.message, False) == (found.state_message, found.HasField("release"))
    assert [] == session.of("tombstone")

    operator = await cluster.token(Role.OPERATOR)
    asked = v1.ReleaseStrayInstanceRequest(node="nodes/a", assignment_id="u1", reason=" not ours ", request_id="r1")
    made = await cluster.instances.ReleaseStrayInstance(asked, metadata=operator)
    assert made == await cluster.instances.ReleaseStrayInstance(asked, metadata=operator)
    asked.reason = "another"
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await cluster.instances.ReleaseStrayInstance(asked, metadata=operator)
    assert "REQUEST_ID_REUSED" == reason(failed.value)
    order = await session.tombstone()
    assert ("u1", 2, "not ours") == (order.assignment_id, order.generation, order.message)
    assert made.release.actor.startswith("tokens/")
    [event] = [each for each in cluster.store.view.events.values() if each.reason == "STRAY_RELEASED"]
    assert f"says {made.release.actor}: not ours" in event.message
    assert [made.release] == [each.release for each in await strays(cluster, "nodes/a")]

    await session.change(removed=["instance/u1"])
    await cluster.until(lambda: not cluster.store.view.nodes["nodes/a"].releases or None)
    await session.read_until(lambda: not session.of("tombstone"))
    assert [] == await strays(cluster)
    assert "STRAY_REMOVED" in {each.reason for each in cluster.store.view.events.values()}


async def test_release_stays_over_sessions(cluster: Cluster, agent: Agent) -> None:
    """
    An order that was not carried out when the session ended is given in the next one.
    """
    session = await shown(agent)
    await release(cluster)
    await session.tombstone()
    await session.close()
    session = await agent.opened()

    assert "u1" == (await session.tombstone()).assignment_id


async def test_what_is_placed_is_no_stray(cluster: Cluster, agent: Agent) -> None:
    """
    An instance that is placed there is not listed, and not released: how it is ended is said.
    """
    session = await agent.joined()
    assignment = await serving(cluster, session)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await release(cluster, assignment_id=assignment.assignment_id)

    assert [] == await strays(cluster)
    assert "INSTANCE_PLACED" == reason(refused.value)
    assert f"motorpool drain {assignment.instance} --force" in str(refused.value.details())
    assert [] == session.of("tombstone")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"assignment_id": "u2"}, "NOT_FOUND"),
        ({"node": "nodes/b"}, "NOT_FOUND"),
        ({"node": "a"}, "FIELD_INVALID"),
        ({"generation": 3}, "GENERATION_MISMATCH"),
        ({"reason": "x" * 501}, "FIELD_INVALID"),
    ],
)
async def test_wrong_releases_change_nothing(
    cluster: Cluster, agent: Agent, asked: dict[str, Any], expected: str
) -> None:
    """
    What nobody tells of, another generation and too long a reason are refused, and nothing is ordered.
    """
    await shown(agent)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await release(cluster, **asked)

    assert expected == reason(refused.value)
    assert () == cluster.store.view.nodes["nodes/a"].releases


async def test_dry_run(cluster: Cluster, agent: Agent) -> None:
    """
    A check answers as the call would, and orders nothing.
    """
    await shown(agent)
    answer = await release(cluster, validate_only=True, generation=2)

    assert answer.HasField("release")
    assert () == cluster.store.view.nodes["nodes/a"].releases
