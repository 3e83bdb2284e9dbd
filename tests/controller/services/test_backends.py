"""Backends over the API: reported, declared, and both."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from motorpool import v1
from motorpool_controller.services.roles import Role
from tests.controller.agent_client import Agent, Session, running_instance
from tests.controller.clusters import Cluster, fresh, reason, running

RUNNER = v1.BackendProfile(backend="custom", memory_model=v1.MEMORY_MODEL_FIXED, rules="fixed", runs_declared=True)
VERSION = v1.DeclaredVersion(
    version="1.0",
    command=["/opt/echo", "--port", "{{port}}", "--say={{GREETING}}", "{{model_path}}"],
    env={"GREETING": "hello", "HF_HOME": "/srv"},
)
ECHO = v1.BackendDeclaration(
    aliases=["parrot"],
    versions=[VERSION],
    health_path="/health",
    api_key_env="ECHO_KEY",
    stop_grace=Duration(seconds=7),
    claim=v1.ClaimOverride(memory_bytes=1 << 20),
)


async def failed(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def declare(
    cluster: Cluster, name: str = "echo", declaration: v1.BackendDeclaration = ECHO, **request: Any
) -> Awaitable[v1.Backend]:
    backend = v1.Backend(name=f"backends/{name}", declaration=declaration, etag=request.pop("etag", ""))
    return cluster.backends.UpdateBackend(
        v1.UpdateBackendRequest(backend=backend, **{"allow_missing": True, **request}), metadata=cluster.admin
    )


def changed(**changes: Any) -> v1.BackendDeclaration:
    made = v1.BackendDeclaration()
    made.CopyFrom(ECHO)
    for name, value in changes.items():
        made.ClearField(name)  # type: ignore[arg-type]  # one of its fields
        if isinstance(value, str):
            setattr(made, name, value)
        else:
            getattr(made, name).extend(value)
    return made


def get(cluster: Cluster, name: str = "backends/echo", metadata: Any = None) -> Awaitable[v1.Backend]:
    return cluster.backends.GetBackend(v1.GetBackendRequest(name=name), metadata=metadata or cluster.admin)


def delete(cluster: Cluster, name: str = "backends/echo", **request: Any) -> Awaitable[Any]:
    return cluster.backends.DeleteBackend(v1.DeleteBackendRequest(name=name, **request), metadata=cluster.admin)


def deploy(cluster: Cluster, name: str = "chat", **spec: Any) -> Awaitable[v1.Deployment]:
    return cluster.deploy(name, "/models/m.bin", **{"backend": "echo", **spec})


async def joined(agent: Agent, *profiles: v1.BackendProfile) -> Session:
    session = await agent.joined()
    await session.change(*(profiles or (RUNNER,)))
    await agent.cluster.until(lambda: "custom" in agent.cluster.store.view.nodes[agent.name].profiles)
    return session


async def next_of(watching: grpc.aio.UnaryStreamCall[v1.WatchRequest, v1.WatchResponse]) -> v1.WatchResponse:
    answer = await watching.read()
    assert isinstance(answer, v1.WatchResponse)
    return answer


async def placed(session: Session) -> v1.Assignment:
    """Say that the model is of no known format, and return what is to be run."""
    await session.answer(error="MODEL_FORMAT_UNKNOWN")
    return await session.assignment()


async def test_a_declared_backend_shows_what_was_declared(cluster: Cluster) -> None:
    """
    It has an etag and times, its profile follows from it, and it is found by its alias too; an event tells of it.
    """
    made = await declare(cluster)
    found = await get(cluster, "backends/parrot")
    listed = await cluster.backends.ListBackends(v1.ListBackendsRequest(), metadata=cluster.admin)

    assert ("backends/echo", 7, 600) == (
        made.name,
        made.declaration.stop_grace.seconds,
        made.declaration.start_timeout.seconds,
    )
    assert made.etag
    assert made.create_time == made.update_time
    assert ["cpu"] == list(made.declaration.versions[0].frameworks)
    assert (["process", "docker"], True) == (list(made.profile.versions[0].executors), made.profile.api_key)
    assert made == found
    assert [made] == list(listed.backends)
    assert ["BACKEND_DECLARED"] == cluster.event_reasons()


async def test_reported_and_declared_backends_are_one_list(cluster: Cluster, agent: Agent) -> None:
    """
    The nodes of a declared one are those that run such; the plugin that does is no backend itself.
    """
    await joined(agent)
    await declare(cluster)

    listed = await cluster.backends.ListBackends(v1.ListBackendsRequest(), metadata=cluster.admin)

    assert [("backends/echo", [agent.name], True), ("backends/llama_cpp", [agent.name], False)] == [
        (each.name, list(each.nodes), each.HasField("declaration")) for each in listed.backends
    ]
    assert "NOT_FOUND" == reason(await failed(get(cluster, "backends/custom")))


async def test_only_admins_declare(cluster: Cluster) -> None:
    """
    It has nodes run commands: an operator may deploy what was declared, and not declare.
    """
    await declare(cluster)
    operator = await cluster.token(Role.OPERATOR)
    calls = (
        cluster.backends.CreateBackend(
            v1.CreateBackendRequest(backend_id="x", backend=v1.Backend(declaration=ECHO)), metadata=operator
        ),
        cluster.backends.UpdateBackend(
            v1.UpdateBackendRequest(backend=v1.Backend(name="backends/echo", declaration=ECHO)), metadata=operator
        ),
        cluster.backends.DeleteBackend(v1.DeleteBackendRequest(name="backends/echo"), metadata=operator),
    )

    assert ["ROLE_INSUFFICIENT"] * 3 == [reason(await failed(call)) for call in calls]
    assert (await get(cluster, metadata=operator)).etag


async def test_readers_see_no_values_of_environments(cluster: Cluster) -> None:
    """
    They may be secrets: a reader sees the names.
    """
    await declare(cluster)

    seen = await get(cluster, metadata=await cluster.token(Role.READER))

    assert {"GREETING": "***", "HF_HOME": "***"} == dict(seen.declaration.versions[0].env)


async def test_creating_is_for_new_ones(cluster: Cluster) -> None:
    """
    Create refuses a name that is declared; update one that is not, unless it may make it.
    """
    request = v1.CreateBackendRequest(backend_id="echo", backend=v1.Backend(declaration=ECHO))
    made = await cluster.backends.CreateBackend(request, metadata=cluster.admin)

    assert "backends/echo" == made.name
    assert "ALREADY_EXISTS" == reason(await failed(cluster.backends.CreateBackend(request, metadata=cluster.admin)))
    assert "NOT_FOUND" == reason(await failed(declare(cluster, "other", allow_missing=False)))


async def test_every_fault_is_told_by_its_field(cluster: Cluster) -> None:
    """
    All of them at once, in words and as a list.
    """
    bad = changed(versions=[v1.DeclaredVersion(version="1", env={"PATH": "/x"})], health_path="up")

    error = await failed(declare(cluster, "Echo", bad))

    status = rpc_status.from_call(error)
    assert status is not None
    request = BadRequest()
    assert status.details[1].Unpack(request)
    assert [
        "name",
        "declaration.health_path",
        "declaration.versions[0].command",
        "declaration.versions[0].env",
    ] == [each.field for each in request.field_violations]
    assert ("FIELD_INVALID", {}) == (reason(error), dict(cluster.store.view.backends))


async def test_very_many_faults_still_arrive(cluster: Cluster) -> None:
    """
    Whatever characters they are about: an error that is too long for gRPC would come as another one.
    """
    bad = changed(versions=[v1.DeclaredVersion(version="\N{SNOWMAN}" * 100 + str(index)) for index in range(200)])

    error = await failed(declare(cluster, declaration=bad))

    assert "FIELD_INVALID" == reason(error)
    assert " more, told when these are mended" in str(error.details())


async def test_a_name_that_is_served_already_is_refused(cluster: Cluster, agent: Agent) -> None:
    """
    Neither a plugin's backend nor another declared one may be named again, by name or alias.
    """
    await joined(agent)
    await declare(cluster)

    for name, declaration in (("llama-cpp", changed(aliases=[])), ("x", changed(aliases=["llama-box"]))):
        error = await failed(declare(cluster, name, declaration))
        assert "FIELD_INVALID" == reason(error)
        assert agent.name in str(error.details())
    assert "backends/echo" in str((await failed(declare(cluster, "parrot", changed(aliases=[])))).details())


async def test_a_dry_run_changes_nothing(cluster: Cluster) -> None:
    """
    It answers as the change would.
    """
    made = await declare(cluster, validate_only=True)

    assert "backends/echo" == made.name
    assert {} == dict(cluster.store.view.backends)


async def test_the_same_declaration_again_is_no_change(cluster: Cluster) -> None:
    """
    Neither the store nor the events grow by it.
    """
    first = await declare(cluster)
    again = await declare(cluster)

    assert first == again
    assert ["BACKEND_DECLARED"] == cluster.event_reasons()


async def test_the_same_request_is_carried_out_once(cluster: Cluster) -> None:
    """
    A deletion that is repeated with its request id is answered as before.
    """
    await declare(cluster)
    request_id = fresh()

    await delete(cluster, request_id=request_id)
    await delete(cluster, request_id=request_id)

    assert "NOT_FOUND" == reason(await failed(delete(cluster)))


async def test_someone_elses_change_is_not_overwritten(cluster: Cluster) -> None:
    """
    An etag that is given must be that of the present declaration.
    """
    before = await declare(cluster)
    await declare(cluster, declaration=changed(health_path="/up"))

    assert "ETAG_MISMATCH" == reason(await failed(declare(cluster, etag=before.etag)))
    assert "ETAG_MISMATCH" == reason(await failed(delete(cluster, etag=before.etag)))


async def test_a_mask_changes_one_field(cluster: Cluster) -> None:
    """
    The rest stays as it was declared.
    """
    await declare(cluster)

    made = await declare(
        cluster,
        declaration=changed(health_path="/up", aliases=[]),
        update_mask=FieldMask(paths=["declaration.health_path"]),
    )

    assert ("/up", ["parrot"]) == (made.declaration.health_path, list(made.declaration.aliases))
    assert ["BACKEND_DECLARED", "BACKEND_CHANGED"] == cluster.event_reasons()


async def test_a_declaration_is_durable(cluster: Cluster) -> None:
    """
    It is there after a restart of the controller.
    """
    made = await declare(cluster)
    await cluster.close()

    async with running(cluster.settings) as again:
        assert made == await get(again)


async def test_watchers_see_declarations_change_and_go(cluster: Cluster) -> None:
    """
    Each change of a declared backend comes as it now is, and its end as its name.
    """
    await declare(cluster)
    watching = cluster.watches.Watch(v1.WatchRequest(kinds=["backends"]), metadata=cluster.admin)
    seen = [await next_of(watching), await next_of(watching)]
    await declare(cluster, declaration=changed(health_path="/up"))
    seen.append(await next_of(watching))
    await delete(cluster)
    seen.append(await next_of(watching))

    assert ["backend", None, "backend", "deleted"] == [each.WhichOneof("change") for each in seen]
    assert ("/up", "backends/echo") == (seen[2].backend.declaration.health_path, seen[3].deleted)


async def test_an_assignment_carries_its_definition(cluster: Cluster, agent: Agent) -> None:
    """
    The node's runner is asked, and everything that it needs to know is in the assignment.
    """
    session = await joined(agent)
    await declare(cluster)
    made = await deploy(cluster)

    assignment = await placed(session)

    assert ("custom", "1.0", 1 << 20) == (assignment.backend, assignment.backend_version, assignment.claim.memory_bytes)
    definition = assignment.definition
    assert ("echo", "1.0", "/health", 7) == (
        definition.backend,
        definition.version,
        definition.health_path,
        definition.stop_grace.seconds,
    )
    assert (list(VERSION.command), dict(VERSION.env)) == (list(definition.command), dict(definition.env))
    assert "echo" == made.spec.backend
    assert assignment.api_key


async def test_an_assignment_carries_the_versions_packages_and_the_deployments(cluster: Cluster, agent: Agent) -> None:
    """
    What a declared version wants installed in its image comes before what the deployment does.
    """
    boxed = v1.DeclaredVersion(version="1.0", image="echo:1", container_port=80, packages=["timm==1.0.25"])
    session = await joined(agent)
    await declare(cluster, declaration=changed(versions=[boxed]))
    await deploy(cluster, packages=["einops"])

    assert ["timm==1.0.25", "einops"] == list((await placed(session)).packages)


async def test_a_changed_declaration_leaves_instances_alone(cluster: Cluster, agent: Agent) -> None:
    """
    What stands keeps its assignment to the last byte; what is placed afterwards gets the new one.
    """
    session = await joined(agent)
    await declare(cluster)
    await deploy(cluster)
    before = await placed(session)
    await session.change(running_instance(before))
    newer = v1.DeclaredVersion(version="2.0", command=["/opt/echo2", "{{port}}"])

    await declare(cluster, declaration=changed(versions=[newer]))
    await cluster.live_settled()
    await deploy(cluster, "second")
    await session.read_until(lambda: len(session.of("assignment")) == 2)

    first, second = sorted((each.assignment for each in session.of("assignment")), key=lambda each: each.deployment)
    assert before == first
    assert "2.0" == second.definition.version
    assert v1.INSTANCE_STATE_RUNNING == (await cluster.instance_of("chat")).state


async def test_a_plan_counts_with_declared_backends(cluster: Cluster, agent: Agent) -> None:
    """
    It would run with the declared claim; which models the backend runs only its author knows.
    """
    session = await joined(agent)
    await declare(cluster)
    spec = v1.DeploymentSpec(model=v1.ModelSource(local_path="/models/m.bin"), backend="parrot")
    request = v1.PlanDeploymentRequest(deployment=v1.Deployment(spec=spec))
    asked = asyncio.create_task(_awaited(cluster.deployments.PlanDeployment(request, metadata=cluster.admin)))
    await session.answer(error="MODEL_FORMAT_UNKNOWN")

    planned = await asked

    assert [v1.CHECK_OUTCOME_PASSED, v1.CHECK_OUTCOME_SKIPPED, v1.CHECK_OUTCOME_PASSED] == [
        check.outcome for check in planned.checks
    ]
    assert ("echo", 1 << 20) == (planned.backend, planned.instances[0].placement.members[0].claim.memory_bytes)


async def _awaited(call: Awaitable[v1.PlanDeploymentResponse]) -> v1.PlanDeploymentResponse:
    return await call


async def test_what_is_used_is_not_deleted(cluster: Cluster, agent: Agent) -> None:
    """
    The error names who uses it; one that a plugin reports is not there to be deleted.
    """
    await joined(agent)
    await declare(cluster)
    await deploy(cluster, backend="parrot")

    error = await failed(delete(cluster))

    assert "BACKEND_IN_USE" == reason(error)
    assert "deployments/chat" in str(error.details())
    assert "BACKEND_NOT_DECLARED" == reason(await failed(delete(cluster, "backends/llama_cpp")))
    assert "BACKEND_NOT_DECLARED" == reason(await failed(declare(cluster, "llama_cpp", allow_missing=False)))


async def test_a_reader_does_not_see_variables_among_arguments(cluster: Cluster, agent: Agent) -> None:
    """
    What a deployment put into the command by a variable is hidden there as it is in the environment.
    """
    session = await joined(agent)
    await declare(cluster)
    await deploy(cluster, env={"GREETING": "secret"})
    assignment = await placed(session)
    argv = ["/opt/echo", "--port", "24000", "--say=secret", "/models/m.bin"]
    launch = v1.RenderedLaunch(
        executor="process", argv=argv, env={"GREETING": "secret", "HF_HOME": "/srv", "LANG": "C"}
    )
    await session.change(running_instance(assignment, launch=launch))
    await cluster.until(lambda: "INSTANCE_RUNNING" in cluster.event_reasons())
    name = (await cluster.instance_of("chat")).name

    async def seen(role: Role) -> v1.RenderedLaunch:
        request = v1.GetInstanceRequest(name=name)
        return (await cluster.instances.GetInstance(request, metadata=await cluster.token(role))).launch

    assert argv == list((await seen(Role.OPERATOR)).argv)
    hidden = await seen(Role.READER)
    assert ["/opt/echo", "--port", "24000", "***", "/models/m.bin"] == list(hidden.argv)
    assert {"GREETING": "***", "HF_HOME": "***", "LANG": "C"} == dict(hidden.env)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"backend_version": "9"}, ["spec.backend_version", "1.0"]),
        ({"command": ["/bin/sh"]}, ["spec.command", "declaration"]),
        ({"env": {"PATH": "/x"}}, ["spec.env", "PATH"]),
    ],
)
async def test_what_cannot_be_launched_is_refused_at_once(
    cluster: Cluster, spec: dict[str, Any], said: Sequence[str]
) -> None:
    """
    With the field and what to do, before anything is placed.
    """
    await declare(cluster)

    error = await failed(deploy(cluster, **spec))

    assert "FIELD_INVALID" == reason(error)
    assert all(word in str(error.details()) for word in said)


async def test_a_missing_variable_is_refused_with_its_name(cluster: Cluster) -> None:
    """
    Of every version that may be taken; one that does without it can be named.
    """
    wanting = v1.DeclaredVersion(version="1", command=["/x", "{{port}}", "{{TOKEN_FILE}}"])
    await declare(cluster, declaration=changed(versions=[wanting, VERSION]))

    error = await failed(deploy(cluster))

    assert "--env TOKEN_FILE=VALUE, or choose another --backend-version" in str(error.details())
    await deploy(cluster, "given", env={"TOKEN_FILE": "/t"})
    await deploy(cluster, "another", backend_version="1.0")


async def test_a_deployment_says_what_it_waits_for(cluster: Cluster) -> None:
    """
    A claim that nobody gave and a fleet without the plugin are notes, and no errors: both may come.
    """
    plain = changed(api_key_env="")
    plain.ClearField("claim")
    await declare(cluster, declaration=plain)

    notes = (await deploy(cluster)).findings

    assert ["nothing is claimed", "no node runs declared", "echo checks no API key"] == [
        next(
            start
            for start in ("nothing is claimed", "no node runs declared", "echo checks no API key")
            if start in note
        )
        for note in notes
    ]


async def test_an_image_without_a_path_to_ask_is_refused(cluster: Cluster) -> None:
    """
    Nobody would learn when its container is ready.
    """
    await declare(cluster, declaration=changed(health_path=""))

    error = await failed(deploy(cluster, image="echo:1"))

    assert "spec.image" in str(error.details())
