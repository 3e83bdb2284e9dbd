"""Changes of a deployment's spec over the API, and the way back."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from motorpool import v1
from motorpool_controller.services.roles import Role
from tests.controller.agent_client import FACTS, Agent, running_instance
from tests.controller.clusters import Cluster, fresh, reason
from tests.controller.services.test_watch import watch

NAME = "deployments/chat"


async def update(cluster: Cluster, *parameters: str) -> v1.Deployment:
    return await cluster.deployments.UpdateDeployment(
        v1.UpdateDeploymentRequest(
            deployment=v1.Deployment(name=NAME, spec=v1.DeploymentSpec(parameters=parameters)),
            update_mask=FieldMask(paths=["spec.parameters"]),
        ),
        metadata=cluster.admin,
    )


async def rollback(cluster: Cluster, revision: int = 0, **request: Any) -> v1.Deployment:
    return await cluster.deployments.RollbackDeployment(
        v1.RollbackDeploymentRequest(name=NAME, revision=revision, **request), metadata=cluster.admin
    )


async def revisions(cluster: Cluster, metadata: Any = None) -> list[v1.DeploymentRevision]:
    found = await cluster.deployments.ListDeploymentRevisions(
        v1.ListDeploymentRevisionsRequest(name=NAME), metadata=metadata or cluster.admin
    )
    return list(found.revisions)


async def test_changes_are_kept_as_revisions(cluster: Cluster) -> None:
    """
    Every spec has the number of the generation that brought it; the present one is last.
    """
    await cluster.deploy()
    changed = await update(cluster, "-c", "1024")
    found = await revisions(cluster)

    assert (2, 2, v1.ROLLOUT_STATE_PROGRESSING) == (changed.generation, changed.revision, changed.rollout.state)
    assert [(1, False, []), (2, True, ["-c", "1024"])] == [
        (each.revision, each.current, list(each.spec.parameters)) for each in found
    ]


async def test_rollback_returns_to_the_spec_before(cluster: Cluster) -> None:
    """
    Rolled back, a deployment has its former spec under its former number; once more, the other one again.
    """
    await cluster.deploy()
    await update(cluster, "-c", "1024")
    back = await rollback(cluster)
    forth = await rollback(cluster)

    assert (3, 1, []) == (back.generation, back.revision, list(back.spec.parameters))
    assert (4, 2, ["-c", "1024"]) == (forth.generation, forth.revision, list(forth.spec.parameters))
    assert ["DEPLOYMENT_UPDATED"] * 3 == [each for each in cluster.event_reasons() if each == "DEPLOYMENT_UPDATED"]


async def test_rollback_to_a_number(cluster: Cluster) -> None:
    """
    Any revision that is kept can be returned to; a dry run only tells what it would be.
    """
    await cluster.deploy()
    for context in ("1024", "2048"):
        await update(cluster, "-c", context)
    told = await rollback(cluster, 1, validate_only=True)

    assert (1, 3) == (told.revision, cluster.store.view.deployments[NAME].template_generation)
    assert 1 == (await rollback(cluster, 1)).revision
    assert [2, 3, 1] == [each.revision for each in await revisions(cluster)]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, "NO_FORMER_SPEC"),
        ({"revision": 9}, "NOT_FOUND"),
        ({"revision": -1}, "FIELD_INVALID"),
        ({"etag": "old"}, "ETAG_MISMATCH"),
    ],
)
async def test_what_cannot_be_returned_to(cluster: Cluster, request_: dict[str, Any], expected: str) -> None:
    """
    Without a former spec, with a number that is not kept, or of a deployment that changed meanwhile, nothing is done.
    """
    await cluster.deploy()
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await rollback(cluster, **request_)

    assert expected == reason(failed.value)
    assert 1 == cluster.store.view.deployments[NAME].generation


async def test_a_repeated_rollback_is_one(cluster: Cluster) -> None:
    """
    The same request id gets the same answer, and does not go back and forth.
    """
    await cluster.deploy()
    await update(cluster, "-c", "1024")
    request_id = fresh()
    answers = [await rollback(cluster, request_id=request_id) for _ in range(2)]

    assert answers[0] == answers[1]
    assert 1 == cluster.store.view.deployments[NAME].template_generation


async def test_readers_see_no_values_of_former_environments(cluster: Cluster) -> None:
    """
    A variable of a former spec may be a secret as one of the present may.
    """
    await cluster.deploy(env={"TOKEN": "s3cret"})
    await update(cluster, "-c", "1024")
    seen = await revisions(cluster, await cluster.token(Role.READER))

    assert [{"TOKEN": "***"}] * 2 == [dict(each.spec.env) for each in seen]


async def test_a_watch_tells_how_a_change_gets_on(cluster: Cluster, agent: Agent) -> None:
    """
    The deployment is told again with every instance that is ready or leaves, though its own row stays.
    """
    session = await agent.joined()
    await cluster.deploy()
    await session.answer(FACTS)
    first = await session.assignment()
    await session.change(running_instance(first))
    watching = watch(cluster, kinds=["deployments"], deployment=NAME)
    await update(cluster, "-c", "1024")
    await session.read_until(lambda: len(session.of("assignment")) == 2)
    second = next(
        each.assignment for each in session.of("assignment") if each.assignment.assignment_id != first.assignment_id
    )
    await session.change(running_instance(second))
    seen = []
    async for answer in watching:
        rollout = answer.deployment.rollout
        seen.append((rollout.updated_replicas, rollout.ready_replicas, rollout.outdated_replicas))
        if rollout.state == v1.ROLLOUT_STATE_COMPLETE:
            break

    assert (1, 0, 1) in seen
    assert (1, 1, 0) == seen[-1]
    assert "ROLLOUT_COMPLETE" in cluster.event_reasons()


async def test_what_leaves_is_no_endpoint_and_still_told_to_run(cluster: Cluster, agent: Agent) -> None:
    """
    Scaled down, an instance is withdrawn from callers first; its node is told to stop it when the time is over.
    """
    session = await agent.joined()
    await cluster.deploy()
    await session.answer(FACTS)
    assignment = await session.assignment()
    await session.change(running_instance(assignment))
    await cluster.until(lambda: cluster.store.view.instances[assignment.instance].endpoint)
    await cluster.deployments.UpdateDeployment(
        v1.UpdateDeploymentRequest(
            deployment=v1.Deployment(name=NAME, spec=v1.DeploymentSpec(replicas=0)),
            update_mask=FieldMask(paths=["spec.replicas"]),
        ),
        metadata=cluster.admin,
    )
    await cluster.until(lambda: cluster.store.view.instances[assignment.instance].drain_time)
    found = await cluster.deployments.GetDeploymentCredentials(
        v1.GetDeploymentCredentialsRequest(name=NAME), metadata=cluster.admin
    )

    assert [] == list(found.endpoints)
    assert not session.of("tombstone")
    cluster.pass_time(10)
    await session.tombstone()
