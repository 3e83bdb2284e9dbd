from collections.abc import Awaitable
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from motorpool import v1
from tests.controller.agent_client import FACTS, PROFILE, Agent, running_instance
from tests.controller.clusters import Cluster, fresh, reason

MODEL = v1.ModelSource(local_path="/models/m.gguf")


async def refused(call: Awaitable[Any]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return reason(failed.value)


def create(cluster: Cluster, deployment_id: str = "chat", **request: Any) -> Awaitable[v1.Deployment]:
    spec = request.pop("spec", None) or v1.DeploymentSpec(model=MODEL)
    return cluster.deployments.CreateDeployment(
        v1.CreateDeploymentRequest(deployment_id=deployment_id, deployment=v1.Deployment(spec=spec), **request),
        metadata=cluster.admin,
    )


def update(
    cluster: Cluster, *paths: str, etag: str = "", name: str = "deployments/chat", **spec: Any
) -> Awaitable[v1.Deployment]:
    return cluster.deployments.UpdateDeployment(
        v1.UpdateDeploymentRequest(
            deployment=v1.Deployment(name=name, etag=etag, spec=v1.DeploymentSpec(**spec)),
            update_mask=FieldMask(paths=paths),
        ),
        metadata=cluster.admin,
    )


def delete(cluster: Cluster, name: str = "deployments/chat", **request: Any) -> Awaitable[v1.Deployment]:
    return cluster.deployments.DeleteDeployment(
        v1.DeleteDeploymentRequest(name=name, **request), metadata=cluster.admin
    )


async def test_defaults_are_written_out(cluster: Cluster) -> None:
    """
    A new deployment shows its spec with every default, its generation and its etag; never its API key.
    """
    made = await create(cluster)

    assert ("deployments/chat", 1) == (made.name, made.generation)
    assert made.etag
    assert (1, v1.EXPOSURE_NODE, True, 300) == (
        made.spec.replicas,
        made.spec.exposure,
        made.spec.restart_on_error,
        made.spec.reschedule_after.seconds,
    )
    key = cluster.store.view.deployments["deployments/chat"].api_key
    assert len(key) >= 32
    assert key not in str(made)


@pytest.mark.parametrize(
    ("deployment_id", "spec"),
    [
        ("", {"model": MODEL}),
        ("Chat", {"model": MODEL}),
        ("a" * 49, {"model": MODEL}),
        ("chat", {}),
        ("chat", {"model": v1.ModelSource(local_path="relative.gguf")}),
        ("chat", {"model": MODEL, "replicas": -1}),
        ("chat", {"model": MODEL, "replicas": 1_001}),
        ("chat", {"model": MODEL, "placement_strategy": 77}),
        ("chat", {"model": MODEL, "exposure": 77}),
        ("chat", {"model": MODEL, "env": {"A=B": "c"}}),
    ],
)
@pytest.mark.promise("P9")
async def test_bad_fields(cluster: Cluster, deployment_id: str, spec: dict[str, Any]) -> None:
    """
    A bad name or spec is refused with FIELD_INVALID, and nothing is left behind.
    """
    assert "FIELD_INVALID" == await refused(create(cluster, deployment_id, spec=v1.DeploymentSpec(**spec)))
    assert not cluster.store.view.deployments


async def test_name_taken(cluster: Cluster) -> None:
    """
    A second deployment of the same name is ALREADY_EXISTS.
    """
    await create(cluster)

    assert "ALREADY_EXISTS" == await refused(create(cluster))


async def test_dry_run_leaves_nothing(cluster: Cluster) -> None:
    """
    With validate_only the answer is the one there would be, and nothing is stored.
    """
    before = cluster.store.view.revision

    made = await create(cluster, validate_only=True)

    assert "deployments/chat" == made.name
    assert before == cluster.store.view.revision
    assert not cluster.store.view.deployments


async def test_repeated_request(cluster: Cluster) -> None:
    """
    The same request id gets the same answer, and is carried out once; another request under it is refused.
    """
    request_id = fresh()
    first = await create(cluster, request_id=request_id)
    again = await create(cluster, request_id=request_id)

    assert first == again
    assert "REQUEST_ID_REUSED" == await refused(create(cluster, "other", request_id=request_id))


async def test_unknown_backend_names_the_known(cluster: Cluster, agent: Agent) -> None:
    """
    A backend that no node offers is BACKEND_UNKNOWN, and the message lists those there are; aliases are known.
    """
    await agent.joined()
    await cluster.until(lambda: cluster.store.view.nodes[agent.name].profiles)
    with pytest.raises(grpc.aio.AioRpcError, match="llama_cpp") as failed:
        await create(cluster, spec=v1.DeploymentSpec(model=MODEL, backend="vllm"))

    assert "BACKEND_UNKNOWN" == reason(failed.value)
    assert "llama_cpp" == (await create(cluster, spec=v1.DeploymentSpec(model=MODEL, backend="llama-box"))).spec.backend


async def test_any_backend_before_there_are_nodes(cluster: Cluster) -> None:
    """
    As long as no node offers anything, a named backend is accepted, and the instance says what is missing.
    """
    await create(cluster, spec=v1.DeploymentSpec(model=MODEL, backend="vllm"))

    pending = await cluster.until(lambda: list(cluster.store.view.instances.values()))
    assert pending[0].refusals


@pytest.mark.parametrize("parameter", ["--port=1", "--ctx-size=many", "stray"])
async def test_bad_parameters_fail_the_call(cluster: Cluster, agent: Agent, parameter: str) -> None:
    """
    A parameter that the system owns, of the wrong kind, or without an option is refused when the deployment is made.
    """
    await agent.joined()
    await cluster.until(lambda: cluster.store.view.nodes[agent.name].profiles)

    assert "PARAMETER_INVALID" == await refused(
        create(cluster, spec=v1.DeploymentSpec(model=MODEL, parameters=[parameter]))
    )


async def test_backend_without_keys_is_told(cluster: Cluster, agent: Agent) -> None:
    """
    Where the backend checks no API key, a finding says who is served, and credentials carry no key.
    """
    keyless = v1.BackendProfile()
    keyless.CopyFrom(PROFILE)
    keyless.api_key = False
    await agent.enrol()
    agent.show(keyless)
    await agent.opened()
    await cluster.until(lambda: cluster.store.view.nodes[agent.name].profiles)

    made = await create(cluster, spec=v1.DeploymentSpec(model=MODEL, backend="llama_cpp"))
    credentials = await cluster.deployments.GetDeploymentCredentials(
        v1.GetDeploymentCredentialsRequest(name=made.name), metadata=cluster.admin
    )

    assert any("no API key" in finding for finding in made.findings)
    assert "" == credentials.api_key


async def test_update_of_named_fields(cluster: Cluster) -> None:
    """
    Only the fields of the mask change; one that is absent in the request gets its default again.
    """
    await create(cluster, spec=v1.DeploymentSpec(model=MODEL, replicas=3, served_model_name="served"))

    changed = await update(
        cluster, "spec.served_model_name", "spec.model.local_path", model=v1.ModelSource(local_path="/b.gguf")
    )

    assert (3, "", "/b.gguf", 2) == (
        changed.spec.replicas,
        changed.spec.served_model_name,
        changed.spec.model.local_path,
        changed.generation,
    )
    assert 1 == (await update(cluster, "spec.replicas")).spec.replicas


async def test_update_of_everything(cluster: Cluster) -> None:
    """
    An empty mask replaces the whole spec; an equal spec changes nothing.
    """
    await create(cluster, spec=v1.DeploymentSpec(model=MODEL, replicas=3))

    changed = await update(cluster, model=MODEL)
    again = await update(cluster, model=MODEL)

    assert (1, 2) == (changed.spec.replicas, changed.generation)
    assert (changed.etag, changed.spec) == (again.etag, again.spec)


@pytest.mark.parametrize("path", ["name", "spec.nothing", "spec.env.key", "spec.model.hugging_face.x", "", "state"])
async def test_bad_mask(cluster: Cluster, path: str) -> None:
    """
    A mask that names no field of the spec is refused.
    """
    await create(cluster)

    assert "FIELD_INVALID" == await refused(update(cluster, path, model=MODEL))


async def test_etags(cluster: Cluster) -> None:
    """
    Who read an older state hears ETAG_MISMATCH, in updates and deletions; who read the present one may go on.
    """
    first = await create(cluster)
    second = await update(cluster, "spec.replicas", etag=first.etag, replicas=0)

    assert "ETAG_MISMATCH" == await refused(update(cluster, "spec.replicas", etag=first.etag, replicas=2))
    assert "ETAG_MISMATCH" == await refused(delete(cluster, etag=first.etag))
    assert (await delete(cluster, etag=second.etag)).HasField("delete_time")


async def test_what_is_not_there(cluster: Cluster) -> None:
    """
    Every call on a deployment that there is not is NOT_FOUND, and on what is no name FIELD_INVALID.
    """
    for name, expected in (("deployments/none", "NOT_FOUND"), ("none", "FIELD_INVALID")):
        assert expected == await refused(
            cluster.deployments.GetDeployment(v1.GetDeploymentRequest(name=name), metadata=cluster.admin)
        )
        assert expected == await refused(
            cluster.deployments.ExplainDeployment(v1.ExplainDeploymentRequest(name=name), metadata=cluster.admin)
        )
        assert expected == await refused(
            cluster.deployments.GetDeploymentCredentials(
                v1.GetDeploymentCredentialsRequest(name=name), metadata=cluster.admin
            )
        )
        assert expected == await refused(delete(cluster, name))
        assert expected == await refused(update(cluster, "spec.replicas", name=name))


async def test_deleted_before_it_was_placed(cluster: Cluster) -> None:
    """
    A deployment without a placed instance is gone as soon as it is deleted.
    """
    await create(cluster)
    await cluster.until(lambda: list(cluster.store.view.instances))

    assert v1.DEPLOYMENT_STATE_DELETING == (await delete(cluster)).state

    await cluster.until(lambda: not cluster.store.view.deployments and not cluster.store.view.instances)


async def test_model_that_cannot_be_read(cluster: Cluster, agent: Agent) -> None:
    """
    An answer that is an error stands in the rows; after half a minute the question is asked again.
    """
    session = await agent.joined()
    await create(cluster)
    first = await session.answer(error="MODEL_NOT_FOUND")
    await cluster.until(
        lambda: [
            row
            for each in cluster.store.view.instances.values()
            for row in each.refusals
            if row.reason == "MODEL_NOT_FOUND"
        ]
    )
    await session.read_until(lambda: not session.of("query"))

    cluster.pass_time(31)
    await session.heartbeat()
    second = await session.answer(FACTS)

    assert first.query_id != second.query_id
    assert (await session.assignment()).assignment_id


@pytest.mark.promise("P4")
async def test_explain_shows_the_decisions_rows(cluster: Cluster, agent: Agent) -> None:
    """
    The rows that explain a pending instance are those that it carries; a placed one is explained with its score.
    """
    session = await agent.joined()
    await create(cluster)
    await session.answer(FACTS)
    await session.change(running_instance(await session.assignment()))
    await create(cluster, "large", spec=v1.DeploymentSpec(model=MODEL, claim=v1.ClaimOverride(memory_bytes=1 << 50)))
    await cluster.until(
        lambda: [
            row
            for each in cluster.store.view.instances.values()
            for row in each.refusals
            if row.reason == "MEMORY_SHORT"
        ]
    )

    large = await cluster.deployments.ExplainDeployment(
        v1.ExplainDeploymentRequest(name="deployments/large"), metadata=cluster.admin
    )
    small = await cluster.deployments.ExplainDeployment(
        v1.ExplainDeploymentRequest(name="deployments/chat"), metadata=cluster.admin
    )

    placement = small.instances[0].placement
    assert (placement.backend, placement.context_length, placement.parallel) == ("llama_cpp", 8192, 1)
    assert small.instances[0].candidates[0].placement.members == placement.members
    assert not small.suggestions
    assert not large.suggestions  # a petabyte: no node like this one helps
    carried = (await cluster.instance_of("large")).refusals
    assert list(carried) == list(large.instances[0].refusals)
    assert large.instances[0].verdict
    assert agent.name == small.instances[0].candidates[0].node
    assert agent.name == small.instances[0].placement.members[0].node
    assert agent.name in small.instances[0].verdict
    assert small.estimate.upper_bytes > FACTS.weight_bytes


async def test_a_pending_deployment_is_told_what_would_make_it_fit(cluster: Cluster, agent: Agent) -> None:
    """
    One of two instances runs, the other has no room: the explanation says how many nodes more hold both.
    """
    session = await agent.joined()
    claim = v1.ClaimOverride(memory_bytes=10 << 30)
    await create(cluster, spec=v1.DeploymentSpec(model=MODEL, replicas=2, claim=claim))
    await session.answer(FACTS)
    await session.change(running_instance(await session.assignment()))

    told = await cluster.deployments.ExplainDeployment(
        v1.ExplainDeploymentRequest(name="deployments/chat"), metadata=cluster.admin
    )

    assert told.nodes_seen == 1
    assert told.decision_time.ToNanoseconds() > 0
    (more,) = told.suggestions
    assert (more.remedy, more.nodes, more.like) == (v1.REMEDY_DEVICES, 1, agent.name)
    assert more.message.startswith("All 2 instances fit with 1 more node")


async def test_many_instances_are_explained_by_a_few(cluster: Cluster, agent: Agent) -> None:
    """
    Of hundreds of instances the first that waits has the rows, and the others are like it; of those that have a place
    the first few have theirs.
    """
    session = await agent.joined()
    claim = v1.ClaimOverride(memory_bytes=1 << 30)
    await create(cluster, spec=v1.DeploymentSpec(model=MODEL, replicas=300, claim=claim))
    await session.answer(FACTS)
    await cluster.until(lambda: any(each.placement for each in cluster.store.view.instances.values()))

    told = await cluster.deployments.ExplainDeployment(
        v1.ExplainDeploymentRequest(name="deployments/chat"), metadata=cluster.admin
    )

    placed = [each for each in told.instances if each.HasField("placement")]
    first, *others = [each for each in told.instances if not each.HasField("placement")]
    assert len(placed) > 8
    assert [bool(each.candidates) for each in placed] == [True] * 8 + [False] * (len(placed) - 8)
    assert all(agent.name in each.verdict for each in placed)
    assert first.refusals
    assert len(others) > 200
    for each in others:
        assert (each.like, each.verdict, list(each.refusals)) == (first.instance, first.verdict, [])


async def test_changed_replicas_keep_what_runs(cluster: Cluster, agent: Agent) -> None:
    """
    More replicas leave the running instance alone.
    """
    session = await agent.joined()
    await create(cluster)
    await session.answer(FACTS)
    first = await session.assignment()
    await session.change(running_instance(first))

    await update(cluster, "spec.replicas", replicas=2)
    await session.read_until(lambda: len(session.of("assignment")) == 2)

    assert f"assignment/{first.assignment_id}" in session.desired
    assert not session.of("tombstone")
