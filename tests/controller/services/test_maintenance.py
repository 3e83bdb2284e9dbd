"""Cordons and drains over the API, with agents that answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from motorpool import v1
from motorpool_controller.domain.workload import InstanceState
from motorpool_controller.services.roles import Role
from tests.controller.agent_client import FACTS, Agent, Session, running_instance
from tests.controller.clusters import Cluster, reason, running, settings

GPU = v1.Device(device_id="GPU-0", vendor="v", framework="f", health=v1.HEALTH_HEALTHY)


def cordon(cluster: Cluster, name: str = "nodes/a", **asked: Any) -> Any:
    return cluster.nodes.CordonNode(v1.CordonNodeRequest(name=name, **asked), metadata=cluster.admin)


def uncordon(cluster: Cluster, name: str = "nodes/a", **asked: Any) -> Any:
    return cluster.nodes.UncordonNode(v1.UncordonNodeRequest(name=name, **asked), metadata=cluster.admin)


def drain(cluster: Cluster, name: str = "nodes/a", **asked: Any) -> Any:
    return cluster.nodes.DrainNode(v1.DrainNodeRequest(name=name, **asked), metadata=cluster.admin)


async def node(cluster: Cluster, name: str = "nodes/a") -> v1.Node:
    return await cluster.nodes.GetNode(v1.GetNodeRequest(name=name), metadata=cluster.admin)


async def serving(cluster: Cluster, session: Session) -> v1.Assignment:
    """Have a deployment served by the session's node, and return what it was told."""
    await cluster.deploy()
    await session.answer(FACTS)
    assignment = await session.assignment()
    await session.change(running_instance(assignment))
    await cluster.until(
        lambda: cluster.store.view.instances[assignment.instance].state is InstanceState.RUNNING or None
    )
    return assignment


async def test_cordon_says_who_and_why(cluster: Cluster, agent: Agent) -> None:
    """
    A cordon has the operator's words, the caller's token and the time, on the node and in an event.
    """
    await agent.enrol()
    operator = await cluster.token(Role.OPERATOR)

    made = await cluster.nodes.CordonNode(v1.CordonNodeRequest(name="nodes/a", reason=" new fans "), metadata=operator)
    event = [each for each in cluster.store.view.events.values() if each.reason == "NODE_CORDONED"][-1]

    assert (True, "new fans") == (made.cordoned, made.cordon.reason)
    assert made.cordon.actor.startswith("tokens/")
    assert made.cordon.HasField("create_time")
    assert f"nodes/a is cordoned by {made.cordon.actor}: new fans" in event.message


async def test_cordon_and_back(cluster: Cluster, agent: Agent) -> None:
    """
    Uncordoned, a node has no cordon; what changes nothing writes nothing.
    """
    await agent.enrol()
    await cordon(cluster, reason="x")
    before = cluster.store.view.revision
    await cordon(cluster, reason="x")
    assert before == cluster.store.view.revision

    freed = await uncordon(cluster)
    after = cluster.store.view.revision
    await uncordon(cluster)

    assert (False, False) == (freed.cordoned, freed.HasField("cordon"))
    assert after == cluster.store.view.revision


async def test_cordon_by_update(cluster: Cluster, agent: Agent) -> None:
    """
    UpdateNode's cordoned is a cordon by its caller without words, and takes any cordon back.
    """
    await agent.enrol()

    async def update(*, cordoned: bool) -> v1.Node:
        request = v1.UpdateNodeRequest(
            node=v1.Node(name="nodes/a", cordoned=cordoned), update_mask=FieldMask(paths=["cordoned"])
        )
        return await cluster.nodes.UpdateNode(request, metadata=cluster.admin)

    made = await update(cordoned=True)
    freed = await update(cordoned=False)

    assert made.cordon.actor
    assert not freed.HasField("cordon")


async def test_cordoned_device(cluster: Cluster, agent: Agent) -> None:
    """
    A device's cordon stands on the device, in lists too, and not on its node.
    """
    agent.show(GPU)
    await agent.joined()
    await cluster.until(lambda: cluster.store.view.nodes["nodes/a"].devices or None)

    made = await cordon(cluster, "nodes/a/devices/GPU-0", reason="ECC")
    listed = await cluster.nodes.ListDevices(v1.ListDevicesRequest(parent="nodes/a"), metadata=cluster.admin)

    assert (False, True) == (made.cordoned, made.devices[0].cordoned)
    assert ("ECC", "ECC") == (made.devices[0].cordon.reason, listed.devices[0].device.cordon.reason)


async def test_maintenance_outlives_sessions_enrolments_and_controllers(tmp_path: Path) -> None:
    """
    Cordons, drains and labels of operators stay through new sessions of the agent, its new enrolment as the same
    machine, and restarts of the controller, as long as the node is not deleted.
    """
    made = settings(tmp_path / "controller")
    async with running(made) as cluster:
        agent = Agent(cluster)
        agent.show(GPU)
        session = await agent.joined()
        await cluster.until(lambda: cluster.store.view.nodes["nodes/a"].devices or None)
        await cordon(cluster, "nodes/a/devices/GPU-0", reason="ECC")
        await drain(cluster, reason="new fans", deadline_timeout=Duration(seconds=3600))
        label = v1.UpdateNodeRequest(
            node=v1.Node(name="nodes/a", labels={"room": "2"}), update_mask=FieldMask(paths=["labels"])
        )
        await cluster.nodes.UpdateNode(label, metadata=cluster.admin)
        await cluster.until(lambda: "DRAINED" in cluster.event_reasons() or None)
        before = await node(cluster)
        await session.close()
        await agent.enrol()
        again = await agent.opened()
        await again.barrier()
        after = await node(cluster)
        await again.close()
    async with running(made) as cluster:
        stored = await node(cluster)

    for each in (after, stored):
        assert before.cordon == each.cordon
        assert before.devices == each.devices
        assert {"room": "2"} == dict(each.labels)


async def test_deleted_node_comes_back_without_its_cordon(cluster: Cluster, agent: Agent) -> None:
    """
    Who deletes a node forgets its maintenance too: enrolled again, it is a new node.
    """
    await agent.enrol()
    await cordon(cluster)
    await cluster.nodes.DeleteNode(v1.DeleteNodeRequest(name="nodes/a"), metadata=cluster.admin)

    await agent.enrol()

    assert not (await node(cluster)).cordoned


async def test_drain_moves_what_serves(cluster: Cluster, agent: Agent) -> None:
    """
    Of a drained node the instance serves until another one does, then it is stopped, and the node says it is drained.
    """
    session = await agent.joined()
    assignment = await serving(cluster, session)
    other = Agent(cluster, "b")
    there = await other.joined()

    begun = await drain(cluster, reason="new fans")
    await there.answer(FACTS)
    second = await there.assignment()
    waiting = await node(cluster)
    assert not session.of("tombstone")
    await there.change(running_instance(second))
    await session.tombstone()
    await session.change(removed=[f"instance/{assignment.assignment_id}"])
    await session.heartbeat()
    await cluster.until(lambda: "DRAINED" in cluster.event_reasons() or None)
    done = await node(cluster)

    assert (v1.DRAIN_STATE_DRAINING, 1, 1) == (
        begun.cordon.drain.state,
        begun.cordon.drain.total_instances,
        begun.cordon.drain.remaining_instances,
    )
    assert [(assignment.instance, second.instance)] == [
        (wait.instance, wait.replacement) for wait in waiting.cordon.drain.waits
    ]
    assert (v1.DRAIN_STATE_DRAINED, 0) == (done.cordon.drain.state, done.cordon.drain.remaining_instances)
    assert done.cordon.drain.HasField("complete_time")


async def test_drain_waits_and_ends(cluster: Cluster, agent: Agent) -> None:
    """
    Without another place the drain says for what it waits; at the deadline of a second call the instance is stopped.
    """
    session = await agent.joined()
    assignment = await serving(cluster, session)
    await drain(cluster)
    await cluster.until(
        lambda: [each for each in cluster.store.view.instances.values() if each.refusals and not each.placement]
    )
    waiting = (await node(cluster)).cordon.drain
    assert [["NODE_CORDONED"]] == [[row.reason for row in wait.refusals] for wait in waiting.waits]
    assert "a place for" in waiting.waits[0].message

    again = await drain(cluster, reason="now", deadline_timeout=Duration())

    assert (waiting.create_time, "now") == (again.cordon.drain.create_time, again.cordon.drain.reason)
    assert assignment.assignment_id == (await session.tombstone()).assignment_id
    assert "DRAIN_DEADLINE" in cluster.event_reasons()


async def test_uncordon_ends_a_drain(cluster: Cluster, agent: Agent) -> None:
    """
    A drain that is taken back leaves the instance where it is, and nothing beside it.
    """
    session = await agent.joined()
    assignment = await serving(cluster, session)
    await drain(cluster)
    await cluster.until(lambda: len(cluster.store.view.instances) == 2 or None)

    await uncordon(cluster)

    await cluster.until(lambda: [assignment.instance] == list(cluster.store.view.instances) or None)
    assert (await cluster.instance_of("chat")).state == v1.INSTANCE_STATE_RUNNING


async def test_drained_instance_is_replaced(cluster: Cluster, agent: Agent) -> None:
    """
    A drained instance says so, and another one is placed beside it; taken back, the other one goes.
    """
    session = await agent.joined()
    assignment = await serving(cluster, session)
    asked = v1.DrainInstanceRequest(name=assignment.instance, reason="leaks")

    made = await cluster.instances.DrainInstance(asked, metadata=cluster.admin)
    await session.read_until(lambda: len(session.of("assignment")) == 2)
    back = await cluster.instances.UndrainInstance(
        v1.UndrainInstanceRequest(name=assignment.instance), metadata=cluster.admin
    )

    assert ("leaks", v1.DRAIN_STATE_DRAINING) == (made.drain.reason, made.drain.state)
    assert not back.HasField("drain")
    assert assignment.assignment_id != (await session.tombstone()).assignment_id


async def test_what_cannot_be_moved(cluster: Cluster, agent: Agent) -> None:
    """
    An instance without a place has nothing to move, and one that leaves already is not asked twice.
    """
    session = await agent.joined()
    assignment = await serving(cluster, session)
    await cluster.deploy("big", claim=v1.ClaimOverride(memory_bytes=1 << 50))
    pending = await cluster.until(
        lambda: [name for name, each in cluster.store.view.instances.items() if each.deployment == "deployments/big"]
    )
    await cluster.deployments.DeleteDeployment(
        v1.DeleteDeploymentRequest(name="deployments/chat"), metadata=cluster.admin
    )
    await session.tombstone()

    found = []
    for name in (*pending, assignment.instance):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await cluster.instances.DrainInstance(v1.DrainInstanceRequest(name=name), metadata=cluster.admin)
        found.append(reason(failed.value))

    assert ["INSTANCE_NOT_PLACED", "INSTANCE_LEAVES"] == found


@pytest.mark.parametrize(
    ("call", "asked", "expected"),
    [
        (cordon, {"name": "nodes/none"}, "NOT_FOUND"),
        (cordon, {"name": "nodes/a/devices/none"}, "NOT_FOUND"),
        (cordon, {"name": "a"}, "FIELD_INVALID"),
        (cordon, {"name": "nodes/a/devices/"}, "FIELD_INVALID"),
        (cordon, {"reason": "x" * 501}, "FIELD_INVALID"),
        (cordon, {"reason": "two\nlines"}, "FIELD_INVALID"),
        (cordon, {"etag": '"0"'}, "ETAG_MISMATCH"),
        (uncordon, {"etag": '"0"'}, "ETAG_MISMATCH"),
        (uncordon, {"name": "nodes/a/devices/none"}, "NOT_FOUND"),
        (drain, {"deadline_timeout": Duration(seconds=-1)}, "FIELD_INVALID"),
        (drain, {"deadline_timeout": Duration(seconds=1 << 40)}, "FIELD_INVALID"),
        (drain, {"etag": '"0"'}, "ETAG_MISMATCH"),
    ],
)
async def test_bad_requests(
    cluster: Cluster, agent: Agent, call: Callable[..., Any], asked: dict[str, Any], expected: str
) -> None:
    """
    What does not exist, is too long, of another state or no time is refused, and nothing is written.
    """
    await agent.enrol()
    before = cluster.store.view.revision

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(cluster, **asked)

    assert expected == reason(failed.value)
    assert before == cluster.store.view.revision


async def test_dry_run_of_a_drain(cluster: Cluster, agent: Agent) -> None:
    """
    A checked drain answers as it would, and changes nothing.
    """
    await agent.enrol()
    before = cluster.store.view.revision

    checked = await drain(cluster, reason="x", validate_only=True)

    assert ("x", before) == (checked.cordon.drain.reason, cluster.store.view.revision)
