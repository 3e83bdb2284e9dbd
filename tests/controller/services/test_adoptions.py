"""What a node runs and no record places there becomes an instance of its deployment, on an operator's word alone."""

from typing import Any

import grpc
import pytest

from motorpool import v1
from motorpool_controller.domain.workload import InstanceState
from motorpool_controller.services.roles import Role
from tests.controller import rows
from tests.controller.agent_client import GIB, Agent, Session, running_instance
from tests.controller.clusters import Cluster, reason
from tests.controller.services.test_maintenance import cordon, serving
from tests.controller.services.test_strays import release, strays


def adopt(cluster: Cluster, assignment: v1.Assignment, **asked: Any) -> Any:
    return cluster.instances.AdoptStrayInstance(
        v1.AdoptStrayInstanceRequest(
            **{"node": "nodes/a", "assignment_id": assignment.assignment_id, "reason": "restored", **asked}
        ),
        metadata=cluster.admin,
    )


async def forgotten(cluster: Cluster, agent: Agent, *, room: bool = False, **changes: Any) -> tuple[Session, Any]:
    """
    Have a node serve what no record knows any more, as after an older store was put back; with ``room`` another one has
    been placed in its stead, else one waits. ``changes`` are of what it says it was told.
    """
    session = await agent.joined()
    assignment = await serving(cluster, session)
    if not room:
        await cordon(cluster)
    await cluster.store.commit(rows.deleting(assignment.instance))
    await cluster.until(lambda: [each for each in others(cluster, assignment) if each.refusals or each.placement])
    told = v1.Assignment()
    told.CopyFrom(assignment)
    told.MergeFrom(v1.Assignment(**changes))
    await session.change(quarantined(assignment, assignment=told))
    await session.barrier()
    return session, assignment


def quarantined(assignment: v1.Assignment, /, **changes: Any) -> v1.ObservedInstance:
    return running_instance(assignment, state=v1.INSTANCE_STATE_QUARANTINED, message="not named any more", **changes)


def others(cluster: Cluster, assignment: v1.Assignment) -> list[Any]:
    return [each for each in cluster.store.view.instances.values() if each.uid != assignment.assignment_id]


@pytest.mark.promise("P1")
async def test_it_is_the_instance_again_that_it_was(cluster: Cluster, agent: Agent) -> None:
    """
    It takes the place of the one that waits, with its claim, process and ports; its node is told what it was told
    before, nothing is ended, and it serves once the node says so.
    """
    session, assignment = await forgotten(cluster, agent)
    [stray] = await strays(cluster)
    assert (True, "deployments/chat") == (stray.adoptable, stray.deployment)

    operator = await cluster.token(Role.OPERATOR)
    asked = v1.AdoptStrayInstanceRequest(
        node="nodes/a", assignment_id=assignment.assignment_id, reason="restored", request_id="r1", generation=1
    )
    made = await cluster.instances.AdoptStrayInstance(asked, metadata=operator)
    assert made == await cluster.instances.AdoptStrayInstance(asked, metadata=operator)

    assert (assignment.instance, assignment.assignment_id, 4242) == (made.name, made.uid, made.pid)
    assert [assignment.claim] == [member.claim for member in made.placement.members]
    assert [] == others(cluster, assignment)
    assert assignment == await session.assignment()
    assert [] == session.of("tombstone")
    [event] = [each for each in cluster.store.view.events.values() if each.reason == "STRAY_ADOPTED"]
    assert "restored" in event.message
    assert "tokens/" in event.message
    await session.change(running_instance(assignment))
    await cluster.until(lambda: cluster.store.view.instances[made.name].state is InstanceState.RUNNING or None)
    assert "http://127.0.0.1:40000" == (await cluster.instance_of("chat")).endpoint
    assert [] == await strays(cluster)
    await cluster.live_settled()
    assert [made.name] == list(cluster.store.view.instances)


async def test_a_check_changes_nothing(cluster: Cluster, agent: Agent) -> None:
    """
    Only checked, it answers as it would, and nothing is written.
    """
    _, assignment = await forgotten(cluster, agent)
    before = cluster.store.view.revision

    made = await adopt(cluster, assignment, validate_only=True)

    assert assignment.instance == made.name
    assert before == cluster.store.view.revision


async def test_a_deployment_that_is_complete_takes_one_more_if_told_to(cluster: Cluster, agent: Agent) -> None:
    """
    Where another one has taken its place it is refused, with what to do; with one more wished for, both stand.
    """
    _, assignment = await forgotten(cluster, agent, room=True)
    await cluster.until(lambda: all(each.placement for each in others(cluster, assignment)) or None)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await adopt(cluster, assignment)
    made = await adopt(cluster, assignment, add_replica=True)
    await cluster.live_settled()

    assert "STRAY_NOT_ADOPTABLE" == reason(refused.value)
    assert "REPLICAS_COMPLETE" in str(refused.value.details())
    assert "--add-replica" in str(refused.value.details())
    assert 2 == cluster.store.view.deployments["deployments/chat"].spec.replicas
    assert 2 == len(cluster.store.view.instances)
    assert not cluster.store.view.instances[made.name].leaves


async def test_a_deployment_of_which_nothing_is_placed_takes_its_key(cluster: Cluster, agent: Agent) -> None:
    """
    A deployment that was made again has a new key: it takes the one that the engine checks.
    """
    _, assignment = await forgotten(cluster, agent, api_key="former")

    await adopt(cluster, assignment)

    assert "former" == cluster.store.view.deployments["deployments/chat"].api_key


@pytest.mark.parametrize(
    ("told", "row"),
    [
        ({"env": {"A": "secret"}}, "another env"),
        ({"model": v1.ModelSource(local_path="/other.gguf")}, "another model"),
        ({"parameters": [v1.Parameter(option="threads", values=["8"], known=True)]}, "another parameters"),
        ({"image": "i:1"}, "another image"),
        ({"served_model_name": "another"}, "another served_model_name"),
        ({"exposure": v1.EXPOSURE_LOCAL}, "another exposure"),
        ({"claim": v1.Claim(memory_bytes=17 * GIB)}, "CLAIMS_TOO_LARGE"),
        ({"claim": v1.Claim(devices=[v1.DeviceClaim(device_id="gone", memory_bytes=1)])}, "DEVICE_MISSING"),
        ({"gang": [v1.GangMember(rank=0, node="nodes/a"), v1.GangMember(rank=1, node="nodes/b")]}, "MEMBER_MISSING"),
        ({"backend": "unheard"}, "BACKEND_MISSING"),
    ],
)
async def test_what_does_not_belong_is_refused_with_its_rows(
    cluster: Cluster, agent: Agent, told: dict[str, Any], row: str
) -> None:
    """
    What is made of another spec, has no room, or cannot be taken alone is refused; no value is told.
    """
    _, assignment = await forgotten(cluster, agent, **told)
    before = cluster.store.view.revision
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await adopt(cluster, assignment)

    assert "STRAY_NOT_ADOPTABLE" == reason(refused.value)
    assert row in str(refused.value.details())
    assert "secret" not in str(refused.value.details())
    assert before == cluster.store.view.revision


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"assignment_id": "u2"}, "NOT_FOUND"),
        ({"node": "nodes/b"}, "NOT_FOUND"),
        ({"deployment": "deployments/other"}, "NOT_FOUND"),
        ({"deployment": "other"}, "FIELD_INVALID"),
        ({"generation": 3}, "GENERATION_MISMATCH"),
        ({"etag": '"999999"'}, "ETAG_MISMATCH"),
        ({"reason": "x" * 501}, "FIELD_INVALID"),
    ],
)
async def test_wrong_requests_change_nothing(
    cluster: Cluster, agent: Agent, asked: dict[str, Any], expected: str
) -> None:
    """
    What nobody tells of, what is not as the caller saw it, and unknown deployments are refused.
    """
    _, assignment = await forgotten(cluster, agent)
    before = cluster.store.view.revision
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await adopt(cluster, assignment, **asked)

    assert expected == reason(refused.value)
    assert before == cluster.store.view.revision


@pytest.mark.promise("P3")
async def test_what_its_node_is_not_certain_of_is_not_adopted(cluster: Cluster, agent: Agent) -> None:
    """
    Without the node's word on what it was told to run it is refused, with what the node says of it.
    """
    session, assignment = await forgotten(cluster, agent)
    await session.change(quarantined(assignment))
    await session.barrier()
    [stray] = await strays(cluster)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await adopt(cluster, assignment)

    assert not stray.adoptable
    assert "NOT_TOLD" in str(refused.value.details())
    assert "not named any more" in str(refused.value.details())


async def test_what_was_released_or_is_placed_is_not_adopted(cluster: Cluster, agent: Agent) -> None:
    """
    An order to end it stands; and what is an instance already is no stray.
    """
    _, assignment = await forgotten(cluster, agent)
    await adopt(cluster, assignment)
    with pytest.raises(grpc.aio.AioRpcError) as placed:
        await adopt(cluster, assignment)
    await cluster.store.commit(rows.deleting(assignment.instance))
    await release(cluster, assignment_id=assignment.assignment_id)
    with pytest.raises(grpc.aio.AioRpcError) as released:
        await adopt(cluster, assignment)

    assert "INSTANCE_PLACED" == reason(placed.value)
    assert "RELEASED" in str(released.value.details())


async def test_members_are_adopted_together(cluster: Cluster, agent: Agent) -> None:
    """
    An instance over two nodes is taken by the word of either, as soon as both tell of it; each is told what it was told
    before, and it serves once both say so.
    """
    members = [
        v1.GangMember(
            rank=rank, node=f"nodes/{name}", address=f"10.0.0.{rank}", ports=[v1.Port(port_name="http", number=40000)]
        )
        for rank, name in enumerate("ab")
    ]
    phase, style = v1.GANG_PHASE_RUN, "mp"
    session, assignment = await forgotten(cluster, agent, gang=members, gang_phase=phase, gang_style=style)
    leads, follows = v1.Assignment(), v1.Assignment()
    for told in (leads, follows):
        told.CopyFrom(assignment)
        told.MergeFrom(v1.Assignment(gang=members, gang_phase=phase, gang_style=style))
    follows.rank = 1
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await adopt(cluster, assignment)
    other = await Agent(cluster, "b").joined()
    await other.change(quarantined(assignment, assignment=follows))
    await other.barrier()
    made = await adopt(cluster, assignment, node="nodes/b")

    assert "MEMBER_MISSING: nodes/b (rank 1) tells of nothing" in str(refused.value.details())
    assert ["nodes/a", "nodes/b"] == [member.node for member in made.placement.members]
    assert [leads, follows] == [await session.assignment(), await other.assignment()]
    assert [] == [*session.of("tombstone"), *other.of("tombstone")]
    for each in (session, other):
        await each.change(running_instance(assignment))
    await cluster.until(lambda: cluster.store.view.instances[made.name].state is InstanceState.RUNNING or None)
    assert [] == await strays(cluster)
    await cluster.live_settled()
    assert [made.name] == list(cluster.store.view.instances)
