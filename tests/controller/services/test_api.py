"""What holds of every method, found by reflection: the next one cannot forget it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from motorpool import v1
from motorpool_controller.domain import errors
from tests.controller.agent_client import Agent
from tests.controller.clusters import Cluster, fresh, reason

ROOT = Path(__file__).parents[3]
PROTOS = ROOT / "proto" / "motorpool" / "v1"
SOURCES = [
    path
    for path in (ROOT / "controller" / "motorpool_controller").rglob("*.py")
    if not path.name.startswith("offline")  # commands on files, which no call reaches
]
READS = ("Get", "List", "Watch", "Stream", "Explain", "Plan", "Inspect")
AGENTS = ("AgentService", "EnrollmentService")
NOT_REPEATED = {"CreateToken", "DeleteToken"}
"""A secret is kept nowhere, so that its call cannot be answered again; to revoke is to revoke, however often."""
UNWATCHED = {"ListDevices", "ListTokens", "ListDeploymentRevisions", "ListStrayInstances", "ListModelFiles"}
"""What is part of another resource that is watched, is stored nowhere, or is no one's to follow."""
WITHOUT_ROW = {"ReleaseStrayInstance"}
"""What it changes is stored nowhere, and has no etag but its generation."""
UNPAGED = {"ListDeploymentRevisions"}
"""Eleven at most."""
ANYWHERE = {"FIELD_INVALID", "UNIMPLEMENTED", "INTERNAL", "STORE_UNAVAILABLE", "STORE_BUSY", "TOO_LARGE"}
ANYWHERE |= {"CREDENTIALS_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED", "ROLE_INSUFFICIENT", "REQUEST_ID_REUSED"}
"""Reasons that any call may give; proto/README.md says so."""


def services() -> Iterator[Any]:
    for module in sorted(PROTOS.glob("*_service.proto")):
        file = getattr(v1, module.stem.title().replace("_", "") + "Stub", None)
        assert file is not None, module
        descriptor = v1.Node.DESCRIPTOR.file.pool.FindFileByName(f"motorpool/v1/{module.name}")
        yield from descriptor.services_by_name.values()


METHODS = {method.full_name: method for service in services() for method in service.methods}
PUBLIC = {name: each for name, each in METHODS.items() if each.containing_service.name not in AGENTS}
MUTATIONS = {name: each for name, each in PUBLIC.items() if not each.name.startswith(READS)}
LISTS = {name: each for name, each in PUBLIC.items() if each.name.startswith("List")}


def names(message: Descriptor) -> set[str]:
    return {field.name for field in message.fields}


def resource_of(method: MethodDescriptor) -> Descriptor | None:
    """The resource that a request carries, as Update's does."""
    inner = [field.message_type for field in method.input_type.fields if field.message_type is not None]
    return next((each for each in inner if "etag" in names(each)), None)


def comment_of(method: MethodDescriptor) -> str:
    text = (ROOT / "proto" / method.containing_service.file.name).read_text()
    found = re.search(rf"((?:^ *//.*\n)+) *rpc {method.name}\(", text, re.MULTILINE)
    assert found, method.full_name
    return found[1]


def reasons_of(method: MethodDescriptor) -> set[str]:
    return set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", comment_of(method))) & DOCUMENTED


DOCUMENTED = {name.removeprefix("ERROR_REASON_") for name in v1.ErrorReason.DESCRIPTOR.values_by_name}


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_every_mutation_can_be_checked_and_repeated(name: str) -> None:
    """
    It has validate_only and request_id, and an etag where it changes what is there already.
    """
    method = MUTATIONS[name]
    given = names(method.input_type)

    assert "validate_only" in given
    assert ("request_id" in given) is (method.name not in NOT_REPEATED)
    if not method.name.startswith("Create") and method.name not in NOT_REPEATED | WITHOUT_ROW:
        assert "etag" in given or resource_of(method) is not None
    if method.name.startswith("Update"):
        assert "update_mask" in given


@pytest.mark.parametrize("name", sorted(LISTS))
def test_every_list_has_pages(name: str) -> None:
    """
    It takes a page's size and token, and gives the next one, and a token to watch from where that can be.
    """
    method = LISTS[name]

    if method.name not in UNPAGED:
        assert {"page_size", "page_token"} <= names(method.input_type)
        assert "next_page_token" in names(method.output_type)
        assert "PAGE_TOKEN_INVALID" in reasons_of(method)
    assert ("resume_token" in names(method.output_type)) is (method.name not in UNWATCHED)


async def test_no_list_takes_a_token_of_another(cluster: Cluster, agent: Agent) -> None:
    """
    A page token that was not given for this list is refused, and a page of less than nothing.
    """
    await agent.enrol()
    found = {}
    for name, method in LISTS.items():
        if method.name not in UNPAGED:
            kind = GetMessageClass(method.input_type)
            parent = {"parent": "nodes/a"} if method.name in {"ListDevices", "ListModelFiles"} else {}
            token = await cluster.refusal(method, kind(page_token="x", **parent))
            size = await cluster.refusal(method, kind(page_size=-1, **parent))
            found[name] = (token, size)

    assert dict.fromkeys(found, ("PAGE_TOKEN_INVALID", "FIELD_INVALID")) == found
    assert len(found) > 5


def test_every_reason_in_the_code_is_documented() -> None:
    """
    Each reason of an error that is raised stands in the protos' ErrorReason.
    """
    kinds = {kind.__name__ for kind in errors.DomainError.__subclasses__()}
    raised = {
        call.args[0].value: path.name
        for path in SOURCES
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", getattr(call.func, "attr", "")) in kinds
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }

    assert len(raised) > 30
    assert {} == {given: where for given, where in raised.items() if given not in DOCUMENTED}


def test_every_documented_reason_is_in_the_code() -> None:
    """
    No reason is documented that nothing gives, but for those that are said to be given no more.
    """
    agent = (ROOT / "agent" / "motorpool_agent").rglob("*.py")
    text = "".join(path.read_text() for path in (*SOURCES, *agent))
    values = v1.ErrorReason.DESCRIPTOR.values
    live = {value.name.removeprefix("ERROR_REASON_") for value in values if not value.GetOptions().deprecated}

    assert {"UNSPECIFIED"} == {name for name in live if f'"{name}"' not in text}


def test_reasons_of_any_call_are_told() -> None:
    """
    What a method's comment need not name stands in the protos' README.
    """
    readme = (ROOT / "proto" / "README.md").read_text()

    assert set() == {each for each in ANYWHERE if f"`{each}`" not in readme} | (ANYWHERE - DOCUMENTED)


def test_comments_name_reasons_that_there_are() -> None:
    """
    What a method's comment writes like a reason is one, or a status code.
    """
    codes = {code.name for code in grpc.StatusCode}
    known = DOCUMENTED | codes | {"SHA"}
    wrong = {
        name: unknown
        for name, method in METHODS.items()
        if (unknown := set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", comment_of(method))) - known)
    }

    assert {} == wrong


def bad_requests(method: MethodDescriptor) -> Iterator[Message]:
    """Requests that name nothing, what does not exist, and values that may not be."""
    kind = GetMessageClass(method.input_type)
    yield kind()
    fields = {field.name: field for field in method.input_type.fields}
    bad: dict[str, list[Any]] = {
        "name": [f"{collection}/none" for collection in COLLECTIONS] + ["nodes/a", "nodes/a/devices/none", "x"],
        "parent": ["nodes/none", "nodes/-", "x"],
        "deployment": ["deployments/none", "x"],
        "deployment_id": ["none", "X"],
        "node": ["nodes/none", "x"],
        "subject": ["x"],
        "page_size": [-1],
        "page_token": ["x"],
        "resume_token": ["x"],
        "request_id": ["x" * 1_000],
        "etag": ['"0"'],
        "reason": ["x" * 1_000],
        "update_mask": [FieldMask(paths=["none"])],
        "read_mask": [FieldMask(paths=["none"])],
        "kinds": [["none"]],
    }
    for name, values in bad.items():
        if name not in fields or (fields[name].message_type is not None and name not in {"update_mask", "read_mask"}):
            continue
        for value in values:
            request = kind()
            if name in {"etag", "reason", "request_id"} and "name" in fields:
                request.name = "nodes/a"  # type: ignore[attr-defined]  # found by reflection
            _set(request, name, value)
            yield request
    for field in method.input_type.fields:
        if field.message_type is not None and "name" in names(field.message_type) and not field.is_repeated:
            for collection in COLLECTIONS:
                request = kind()
                getattr(request, field.name).name = f"{collection}/none"
                _set(request, "update_mask", FieldMask(paths=["labels"])) if "update_mask" in fields else None
                yield request


COLLECTIONS = ("nodes", "deployments", "instances", "backends", "tokens", "events")


def _set(request: Message, name: str, value: Any) -> None:
    if isinstance(value, Message):
        getattr(request, name).CopyFrom(value)
    elif isinstance(value, list):
        getattr(request, name).extend(value)
    else:
        setattr(request, name, value)


async def test_calls_give_the_reasons_of_their_comments(cluster: Cluster, agent: Agent) -> None:
    """
    Whatever is wrong with a request, the reason is one that the method's comment names, or that any call may give.
    """
    await agent.joined()
    found: dict[str, set[str]] = {}
    for name, method in PUBLIC.items():
        for request in bad_requests(method):
            given = await cluster.refusal(method, request)
            if given is not None:
                found.setdefault(name, set()).add(given)

    assert len(found) > 20
    assert {} == {
        name: undocumented
        for name, given in found.items()
        if (undocumented := given - ANYWHERE - reasons_of(METHODS[name]))
    }


async def test_same_id_same_answer(cluster: Cluster, agent: Agent) -> None:
    """
    A request id that comes again gets the first answer, and with another request it is refused with its own reason.
    """
    await agent.enrol()
    request_id = fresh()

    def cordon(why: str) -> Any:
        request = v1.CordonNodeRequest(name="nodes/a", reason=why, request_id=request_id)
        return cluster.nodes.CordonNode(request, metadata=cluster.admin)

    first = await cordon("one")
    await cluster.nodes.UncordonNode(v1.UncordonNodeRequest(name="nodes/a"), metadata=cluster.admin)
    again = await cordon("one")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await cordon("two")

    assert first == again
    assert not cluster.store.view.nodes["nodes/a"].cordoned
    assert (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED") == (failed.value.code(), reason(failed.value))


async def test_read_mask(cluster: Cluster, agent: Agent) -> None:
    """
    A list gives only the fields that are asked for, and each one's name; a field that there is not is refused.
    """
    await agent.joined()

    def nodes(*paths: str) -> Any:
        request = v1.ListNodesRequest(read_mask=FieldMask(paths=paths))
        return cluster.nodes.ListNodes(request, metadata=cluster.admin)

    listed = await nodes("state", "host.os")
    (node,) = listed.nodes

    assert node == v1.Node(name="nodes/a", state=node.state, host=v1.Host(os="linux"))
    for wrong in ("states", "host.none", "devices.name", ""):
        with pytest.raises(grpc.aio.AioRpcError, match="read_mask") as failed:
            await nodes(wrong)
        assert "FIELD_INVALID" == reason(failed.value)
