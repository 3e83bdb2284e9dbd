"""Plans over the API: what would become of a deployment that does not exist."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from motorpool import v1
from motorpool_controller.services.roles import Role
from tests.controller.agent_client import FACTS, GIB, Agent
from tests.controller.clusters import Cluster, reason, running, settings
from tests.hub.clients import hubs_of
from tests.hub.server import LocalHub
from tests.models.tiny_gguf import make_tiny_gguf

PATH_MODEL = v1.ModelSource(local_path="/models/m.gguf")
PASSED, FAILED, SKIPPED = v1.CHECK_OUTCOME_PASSED, v1.CHECK_OUTCOME_FAILED, v1.CHECK_OUTCOME_SKIPPED


@pytest.fixture(name="cluster")
async def _cluster(tmp_path: Path, hub: LocalHub) -> AsyncIterator[Cluster]:
    async with running(settings(tmp_path / "data"), hubs=hubs_of(hub)) as cluster:
        yield cluster


async def plan(cluster: Cluster, role: Role = Role.OPERATOR, **request: Any) -> v1.PlanDeploymentResponse:
    spec = request.pop("spec", None) or v1.DeploymentSpec(model=PATH_MODEL)
    name = request.pop("name", "")
    return await cluster.deployments.PlanDeployment(
        v1.PlanDeploymentRequest(deployment=v1.Deployment(name=name, spec=spec), **request),
        metadata=await cluster.token(role),
    )


async def refusal(cluster: Cluster, role: Role = Role.OPERATOR, **request: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plan(cluster, role, **request)
    return caught.value.code(), reason(caught.value), caught.value.details() or ""


def outcomes(found: v1.PlanDeploymentResponse) -> list[v1.CheckOutcome.ValueType]:
    return [check.outcome for check in found.checks]


async def planned(cluster: Cluster, agent: Agent, **request: Any) -> v1.PlanDeploymentResponse:
    """Return the plan of a model that the agent is asked for and has."""
    session = await agent.joined()
    await cluster.until(lambda: [node for node in cluster.store.view.nodes.values() if node.profiles])
    asked = asyncio.create_task(plan(cluster, **request))
    await session.answer(FACTS)
    return await asked


async def test_a_path_that_nodes_have(cluster: Cluster, agent: Agent) -> None:
    """
    The node is asked for the headers, and the plan says where the model would run, with its facts and needs.
    """
    found = await planned(cluster, agent)

    assert outcomes(found) == [PASSED, PASSED, PASSED]
    (instance,) = found.instances
    assert (instance.placement.members[0].node, instance.count) == ("nodes/a", 1)
    assert found.backend == "llama_cpp"
    assert found.facts.weight_bytes == FACTS.weight_bytes
    assert found.estimate.upper_bytes == instance.placement.members[0].claim.memory_bytes
    assert not cluster.store.view.deployments
    assert not cluster.store.view.instances


async def test_models_of_an_image_are_not_checked(cluster: Cluster, agent: Agent) -> None:
    """
    Which models the engine of an image runs is its author's to say, and the check says so.
    """
    found = await planned(cluster, agent, spec=v1.DeploymentSpec(model=PATH_MODEL, image="engines/llama:1"))

    check = found.checks[1]
    assert (check.kind, check.outcome) == (v1.CHECK_KIND_MODEL, v1.CHECK_OUTCOME_SKIPPED)
    assert "from an image given by hand" in check.message


async def test_more_than_fits_and_a_node_that_would_help(cluster: Cluster, agent: Agent) -> None:
    """
    What fits nowhere stands once with its count and rows; nodes like one of the fleet's, thought into it, take it.
    """
    spec = v1.DeploymentSpec(model=PATH_MODEL, replicas=3, claim=v1.ClaimOverride(memory_bytes=10 * GIB))
    found = await planned(cluster, agent, spec=spec)

    assert outcomes(found) == [PASSED, PASSED, FAILED]
    assert [instance.count for instance in found.instances] == [1, 2]
    assert found.nodes_seen == 1
    assert found.decision_time.ToNanoseconds() > 0
    assert found.checks[2].refusals[0].reason == "MEMORY_SHORT"
    assert found.instances[1].refusals
    (nodes,) = found.suggestions
    assert (nodes.remedy, nodes.nodes, nodes.like) == (v1.REMEDY_DEVICES, 2, "nodes/a")

    more = await plan(cluster, spec=spec, add_nodes=[v1.AddedNodes(like="nodes/a", count=2)])

    assert outcomes(more) == [PASSED, PASSED, PASSED]
    assert sorted(instance.placement.members[0].node for instance in more.instances) == [
        "nodes/a",
        "nodes/a-new-1",
        "nodes/a-new-2",
    ]


async def test_what_would_make_it_fit_is_true(cluster: Cluster, agent: Agent) -> None:
    """
    Where an instance has no place, the plan says which context gives it one, and it does; no node like it would.
    """
    spec = v1.DeploymentSpec(model=PATH_MODEL, parameters=["--ctx-size", "8000000"])
    found = await planned(cluster, agent, spec=spec)
    (context,) = found.suggestions

    assert outcomes(found)[2] == FAILED
    assert (context.remedy, context.option) == (v1.REMEDY_CONTEXT, "--ctx-size")

    smaller = v1.DeploymentSpec(model=PATH_MODEL, parameters=[context.option, context.value])
    assert outcomes(await plan(cluster, spec=smaller)) == [PASSED, PASSED, PASSED]


async def test_a_node_that_has_the_files_is_preferred(cluster: Cluster, agent: Agent) -> None:
    """
    B13.2: of two nodes the one that read the model at its path has the files; the other has a part of them.
    """
    runner = v1.BackendProfile(backend="custom", memory_model=v1.MEMORY_MODEL_FIXED, rules="fixed", runs_declared=True)
    version = v1.DeclaredVersion(version="1.0", command=["/opt/echo", "{{model_path}}", "{{port}}"])
    declaration = v1.BackendDeclaration(versions=[version], claim=v1.ClaimOverride(memory_bytes=GIB))
    await cluster.backends.UpdateBackend(
        v1.UpdateBackendRequest(backend=v1.Backend(name="backends/echo", declaration=declaration), allow_missing=True),
        metadata=cluster.admin,
    )
    other = Agent(cluster, "b")
    agent.show(runner)
    other.show(runner)
    sessions = [await each.joined() for each in (agent, other)]
    await cluster.until(
        lambda: (
            len(cluster.live.settled_usage) == 2
            and all(len(node.profiles) == 2 for node in cluster.store.view.nodes.values())
        )
    )
    spec = v1.DeploymentSpec(model=PATH_MODEL, backend="echo")

    asked = asyncio.create_task(plan(cluster, spec=spec))
    await sessions[0].answer(error="MODEL_INCOMPLETE")
    await sessions[1].answer(FACTS)
    (instance,) = (await asked).instances

    assert [candidate.node for candidate in instance.candidates] == ["nodes/b", "nodes/a"]
    assert [round(candidate.scores["locality"], 1) for candidate in instance.candidates] == [4.8, 0.0]
    assert instance.placement.members[0].node == "nodes/b"


async def test_a_deployment_does_not_compete_with_itself(cluster: Cluster, agent: Agent) -> None:
    """
    The plan of a deployment that stands takes its instances away first; another's are in the way until thought away.
    """
    session = await agent.joined()
    spec = v1.DeploymentSpec(model=PATH_MODEL, claim=v1.ClaimOverride(memory_bytes=10 * GIB))
    await cluster.deploy("chat", claim=v1.ClaimOverride(memory_bytes=10 * GIB))
    await session.answer(FACTS)
    await session.assignment()
    instance = await cluster.instance_of("chat")

    assert outcomes(await plan(cluster, spec=spec))[2] == FAILED
    assert outcomes(await plan(cluster, spec=spec, name="deployments/chat"))[2] == PASSED
    assert outcomes(await plan(cluster, spec=spec, without=[instance.name]))[2] == PASSED


async def test_nothing_is_left_without_the_node(cluster: Cluster, agent: Agent) -> None:
    """
    With its only node thought away, the fleet has nowhere to look, and the checks say so.
    """
    await agent.joined()

    found = await plan(cluster, without=["nodes/a"])

    assert outcomes(found) == [SKIPPED, SKIPPED, FAILED]
    assert found.checks[2].refusals[0].reason == "NO_NODES"


async def test_a_hubs_model_is_planned_as_though_nodes_had_it(
    cluster: Cluster, agent: Agent, hub: LocalHub, tmp_path: Path
) -> None:
    """
    The hub says what the model is; the plan says where it would fit, and what nodes would download.
    """
    hub.add("o/n", {"tiny.gguf": make_tiny_gguf(tmp_path / "tiny.gguf")})
    await agent.joined()
    await cluster.until(lambda: cluster.live.settled_usage)
    spec = v1.DeploymentSpec(model=v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository="o/n")))

    found = await plan(cluster, spec=spec)

    assert outcomes(found) == [PASSED, PASSED, PASSED]
    assert found.facts.display_name == "tiny-random-llama"
    assert any("are downloaded by each node" in finding for finding in found.findings)


async def plan_all(cluster: Cluster, *specs: v1.DeploymentSpec, **request: Any) -> list[v1.PlanDeploymentResponse]:
    names = request.pop("names", [""] * len(specs))
    wishes = [v1.Deployment(name=name, spec=spec) for name, spec in zip(names, specs, strict=True)]
    answer = await cluster.deployments.PlanDeployments(
        v1.PlanDeploymentsRequest(deployments=wishes, **request), metadata=await cluster.token(Role.OPERATOR)
    )
    return list(answer.plans)


async def test_several_deployments_are_one_transaction(cluster: Cluster, agent: Agent) -> None:
    """
    Of 16 GiB the first takes 10, and the second finds the rest; the other way round the second comes first.
    """
    await planned(cluster, agent)
    large = v1.DeploymentSpec(model=PATH_MODEL, claim=v1.ClaimOverride(memory_bytes=10 * GIB))
    small = v1.DeploymentSpec(model=PATH_MODEL, claim=v1.ClaimOverride(memory_bytes=4 * GIB))

    first, second, third = await plan_all(cluster, large, small, large)

    assert [outcomes(each)[2] for each in (first, second, third)] == [PASSED, PASSED, FAILED]
    (row,) = [row for row in third.instances[0].refusals if row.reason == "MEMORY_SHORT"]
    assert set(row.holders) >= {"instances/plan-1-1", "instances/plan-2-1"}
    (more,) = third.suggestions
    assert (more.nodes, more.like) == (1, "nodes/a")
    (after,) = await plan_all(cluster, large)
    assert outcomes(after)[2] == PASSED, "what was booked for the plan before is given back"
    all_fit = await plan_all(cluster, large, large, add_nodes=[v1.AddedNodes(like="nodes/a", count=1)])
    assert [outcomes(each)[2] for each in all_fit] == [PASSED, PASSED]


async def test_standing_deployments_are_planned_anew_together(cluster: Cluster, agent: Agent) -> None:
    """
    The instances of all that are planned are thought away before any of them is placed.
    """
    session = await agent.joined()
    spec = v1.DeploymentSpec(model=PATH_MODEL, claim=v1.ClaimOverride(memory_bytes=10 * GIB))
    await cluster.deploy("chat", claim=v1.ClaimOverride(memory_bytes=10 * GIB))
    await session.answer(FACTS)
    await session.assignment()

    other, chat = await plan_all(cluster, spec, spec, names=["other", "deployments/chat"])

    assert (outcomes(other)[2], outcomes(chat)[2]) == (PASSED, FAILED)


async def test_a_node_that_is_larger_than_any(cluster: Cluster, agent: Agent) -> None:
    """
    A node thought into the fleet may have more memory than the one that it is like.
    """
    await planned(cluster, agent)
    spec = v1.DeploymentSpec(model=PATH_MODEL, claim=v1.ClaimOverride(memory_bytes=40 * GIB))
    like = v1.AddedNodes(like="nodes/a", count=1)
    larger = v1.AddedNodes(like="nodes/a", count=1, memory_bytes=64 * GIB)

    assert outcomes(await plan(cluster, spec=spec, add_nodes=[like]))[2] == FAILED
    found = await plan(cluster, spec=spec, add_nodes=[like, larger])
    assert found.instances[0].placement.members[0].node == "nodes/a-new-2"


async def test_faults_of_one_of_several_name_it(cluster: Cluster, agent: Agent) -> None:
    """
    The field says which deployment, and machines find field and sentence apart.
    """
    await planned(cluster, agent)
    good, bad = v1.DeploymentSpec(model=PATH_MODEL), v1.DeploymentSpec(model=PATH_MODEL, replicas=5000)
    device = v1.AddedNodes(like="nodes/a", count=1, devices=2)

    for specs, request, says in (
        ([good, bad], {}, "deployments[1]: spec.replicas"),
        ([good, v1.DeploymentSpec()], {}, "deployments[1]: spec.model"),
        ([good, good], {"names": ["x", "Bad Name"]}, "deployments[1]"),
        ([good, good], {"names": ["x", "deployments/x"]}, "deployments[1].name"),
        ([v1.DeploymentSpec(model=PATH_MODEL, replicas=1000)] * 11, {}, "deployments: they wish for 11,000"),
        ([], {}, "deployments: there are 0"),
        ([good], {"add_nodes": [device]}, "add_nodes[0].devices"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await plan_all(cluster, *specs, **request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert says in (caught.value.details() or ""), says

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plan_all(cluster, good, bad)
    status, bad_request = rpc_status.from_call(caught.value), BadRequest()
    assert status is not None
    assert status.details[1].Unpack(bad_request)
    assert [each.field for each in bad_request.field_violations] == ["deployments[1].spec.replicas"]


async def test_wrong_input_is_told_before_anything_is_read(cluster: Cluster, agent: Agent) -> None:
    """
    Names of nothing, counts of nothing and backends of nobody are errors that name the field.
    """
    await agent.joined()
    await cluster.until(lambda: [node for node in cluster.store.view.nodes.values() if node.profiles])

    for request, expected in (
        ({"without": ["nodes/x"]}, "NOT_FOUND"),
        ({"add_nodes": [v1.AddedNodes(like="nodes/x", count=1)]}, "NOT_FOUND"),
        ({"add_nodes": [v1.AddedNodes(like="nodes/a")]}, "FIELD_INVALID"),
        ({"name": "deployments/Bad Name"}, "FIELD_INVALID"),
        ({"spec": v1.DeploymentSpec(model=PATH_MODEL, backend="none")}, "BACKEND_UNKNOWN"),
        ({"spec": v1.DeploymentSpec(model=PATH_MODEL, backend="llama_cpp", parameters=["--port", "1"])}, "P"),
    ):
        _, why, _ = await refusal(cluster, **request)
        assert why.startswith(expected), request


async def test_readers_cannot_have_paths_read(cluster: Cluster) -> None:
    """
    A plan has nodes read a path; that is for those who may deploy.
    """
    assert (await refusal(cluster, Role.READER))[0] is grpc.StatusCode.PERMISSION_DENIED
