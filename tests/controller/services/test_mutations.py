"""Each mutation, checked, carried out and repeated: the same of all of them, found by reflection."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from motorpool import v1
from motorpool_controller.services.convert.declaration import declaration_message
from motorpool_controller.store.transaction import Transaction
from tests.controller import rows
from tests.controller.agent_client import Agent
from tests.controller.clusters import Cluster, fresh, reason, running, settings
from tests.controller.declared import declaration
from tests.controller.services.test_api import MUTATIONS, NOT_REPEATED, names

SPEC = v1.DeploymentSpec(model=v1.ModelSource(local_path="/m.gguf"), backend="echo", parameters=["-a"])


def declared_backend(name: str) -> v1.Backend:
    message = declaration_message(declaration(aliases=()), masked=False)
    return v1.Backend(name=f"backends/{name}", declaration=message)


def requests(cluster: Cluster) -> dict[str, Message]:
    """One valid request of each mutation, in an order in which each finds what those before it left."""
    declared = declared_backend("lyrebird")
    changed = v1.Backend()
    changed.CopyFrom(declared)
    changed.declaration.aliases.append("mockingbird")
    deployment, instance = "deployments/chat", "instances/d-1"
    return {
        "CreateBackend": v1.CreateBackendRequest(backend_id="lyrebird", backend=declared),
        "UpdateBackend": v1.UpdateBackendRequest(backend=changed),
        "CreateDeployment": v1.CreateDeploymentRequest(deployment_id="chat", deployment=v1.Deployment(spec=SPEC)),
        "UpdateDeployment": v1.UpdateDeploymentRequest(
            deployment=v1.Deployment(name=deployment, spec=v1.DeploymentSpec(parameters=["-b"])),
            update_mask=FieldMask(paths=["spec.parameters"]),
        ),
        "RollbackDeployment": v1.RollbackDeploymentRequest(name=deployment),
        "CordonNode": v1.CordonNodeRequest(name="nodes/a", reason="x"),
        "DrainNode": v1.DrainNodeRequest(name="nodes/a", reason="x"),
        "UncordonNode": v1.UncordonNodeRequest(name="nodes/a"),
        "BanNode": v1.BanNodeRequest(name="nodes/a", reason="x"),
        "UnbanNode": v1.UnbanNodeRequest(name="nodes/a"),
        "UpdateNode": v1.UpdateNodeRequest(
            node=v1.Node(name="nodes/a", labels={"a": "b"}), update_mask=FieldMask(paths=["labels"])
        ),
        "DrainInstance": v1.DrainInstanceRequest(name=instance, reason="x"),
        "UndrainInstance": v1.UndrainInstanceRequest(name=instance),
        "DeleteDeployment": v1.DeleteDeploymentRequest(name=deployment),
        "DeleteBackend": v1.DeleteBackendRequest(name="backends/lyrebird"),
        "DeleteNode": v1.DeleteNodeRequest(name="nodes/a", force=True),
        "CreateToken": v1.CreateTokenRequest(role=v1.ROLE_READER),
        "DeleteToken": v1.DeleteTokenRequest(name=f"tokens/{cluster.store.tokens.list()[-1].token_id}"),
    }


@pytest.fixture(name="still")
async def _still(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A controller that decides nothing by itself, with a node and an instance on it."""
    async with running(settings(tmp_path / "still"), reconcile=False) as cluster:
        await Agent(cluster).enrol()
        await cluster.backends.CreateBackend(
            v1.CreateBackendRequest(backend_id="echo", backend=declared_backend("echo")), metadata=cluster.admin
        )

        def place(tx: Transaction) -> None:
            tx.instances.put(rows.instance("d-1", memory_bytes=1))

        await cluster.store.commit(place)
        yield cluster


def written(cluster: Cluster) -> tuple[object, ...]:
    view = cluster.store.view
    return view.revision, {**view.answers}, [token.token_id for token in cluster.store.tokens.list()]


def changed_request(request: Message) -> Message:
    """The same request in another state: no caller means both by one id."""
    other = type(request)()
    other.CopyFrom(request)
    other.validate_only = False  # type: ignore[attr-defined]  # every mutation has it
    if hasattr(other, "etag"):
        other.etag = '"999999"'
    for field in request.DESCRIPTOR.fields:
        if field.message_type is not None and "etag" in field.message_type.fields_by_name:
            getattr(other, field.name).etag = '"999999"'
    return other


async def test_every_mutation_is_checked_carried_out_and_repeated(still: Cluster) -> None:
    """
    Checked only, it writes nothing and answers as it would; another etag is refused; a repeated request id gets the
    first answer and writes nothing, and with another request it is refused.
    """
    methods = {method.name: method for method in MUTATIONS.values()}
    made = requests(still)
    # These want an agent that tells of what they change: test_strays.py, test_adoptions.py and test_files.py.
    assert methods.keys() - {"ReleaseStrayInstance", "AdoptStrayInstance", "DeleteModelFiles"} == made.keys()
    for name, request in made.items():
        method = methods[name]
        before = written(still)
        stale = changed_request(request)
        if "etag" in names(method.input_type) or name.startswith("Update"):
            assert "ETAG_MISMATCH" == await still.refusal(method, stale), name
        request.validate_only = True  # type: ignore[attr-defined]  # every mutation has it
        checked = await still.call(method, request)
        assert before == written(still), name
        request.validate_only = False  # type: ignore[attr-defined]  # every mutation has it

        request_id = fresh()
        if name not in NOT_REPEATED:
            request.request_id = request_id  # type: ignore[attr-defined]  # every other mutation has it
        done = await still.call(method, request)
        after = written(still)
        assert before != after, name
        assert type(checked) is type(done)
        assert getattr(checked, "name", "") == getattr(done, "name", "")
        if name in NOT_REPEATED:
            continue
        assert done == await still.call(method, request), name
        assert after == written(still), name
        stale.request_id = request_id  # type: ignore[attr-defined]  # every other mutation has it
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await still.call(method, stale)
        assert "REQUEST_ID_REUSED" == reason(failed.value), name


async def test_a_checked_mutation_fails_as_it_would(still: Cluster) -> None:
    """
    What cannot be carried out is refused for the same reason when it is only checked.
    """
    methods = {method.name: method for method in MUTATIONS.values()}
    for name, request in requests(still).items():
        if name.startswith("Create"):
            continue
        absent = type(request)()
        absent.CopyFrom(request)
        if hasattr(absent, "name"):
            absent.name = f"{request.name.partition('/')[0]}/none"  # type: ignore[attr-defined]  # it has a name
        else:
            inner = next(field for field in request.DESCRIPTOR.fields if field.message_type is not None)
            resource = getattr(absent, inner.name)
            resource.name = f"{resource.name.partition('/')[0]}/none"
        found = set()
        for only in (True, False):
            absent.validate_only = only  # type: ignore[attr-defined]  # every mutation has it
            found.add(await still.refusal(methods[name], absent))
        assert {"NOT_FOUND"} == found, name
