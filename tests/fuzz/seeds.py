"""`python -m tests.fuzz.seeds`: writes what the fuzzers of calls begin with, one request of each method.

Each field has a value that gets it further than chance would: names of what there is, masks of what can be changed.
Files that are there already stay: a corpus is also what was found once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from motorpool import v1
from tests.agent.session import objects
from tests.controller.agent_client import FACTS, PROFILE, observed
from tests.fuzz.wire import joined

M = TypeVar("M", bound=Message)
CORPUS = Path(__file__).parent / "corpus"
DEPTH = 4
TEXTS: Mapping[str, str] = {
    "deployment_id": "other",
    "backend_id": "echo",
    "node_id": "b",
    "paths": "labels",
    "local_path": "/m.gguf",
    "subject": "nodes/a",
    "node": "nodes/a",
    "deployment": "deployments/chat",
    "backend": "llama_cpp",
    "parameters": "--ctx-size=4096",
    "kinds": "nodes",
    "address": "127.0.0.1",
    "parent": "nodes/-",
    "page_token": "",
    "resume_token": "",
    "etag": "",
}
NAMES: Mapping[str, str] = {
    "Node": "nodes/a",
    "Device": "nodes/a",
    "Deployment": "deployments/chat",
    "Instance": "instances/chat-1",
    "Backend": "backends/echo",
    "Token": "tokens/abcdefghij",
}


def main() -> None:
    """Write the seeds that are missing."""
    for folder, name, content in _seeds():
        path = CORPUS / folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_bytes(content)


def methods() -> Iterator[MethodDescriptor]:
    """Give every method of every service, but the session."""
    pool = descriptor_pool.Default()
    for name in sorted(dir(v1)):
        if name.endswith("ServiceServicer"):
            service = pool.FindServiceByName(f"motorpool.v1.{name.removesuffix('Servicer')}")
            yield from (method for method in service.methods if method.name != "Session")


def filled(message: M, of: str, depth: int = 0) -> M:
    """Return a message with something in each of its fields."""
    taken: set[str] = set()
    for field in message.DESCRIPTOR.fields:
        group = field.containing_oneof
        if field.name == "validate_only" or (group is not None and group.name in taken):
            continue
        if group is not None:
            taken.add(group.name)
        _set(message, field, of, depth)
    return message


def _set(message: Message, field: Any, of: str, depth: int) -> None:
    kind: Any = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return
    if kind is not None:
        if depth < DEPTH:
            value = filled(GetMessageClass(kind)(), of, depth + 1)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                getattr(message, field.name).CopyFrom(value)
        return
    value_: Any = {
        FieldDescriptor.CPPTYPE_STRING: TEXTS.get(field.name, _name(of) if field.name == "name" else "x"),
        FieldDescriptor.CPPTYPE_BOOL: True,
        FieldDescriptor.CPPTYPE_DOUBLE: 0.5,
        FieldDescriptor.CPPTYPE_FLOAT: 0.5,
    }.get(field.cpp_type, 1)
    if field.type == FieldDescriptor.TYPE_BYTES:
        value_ = b"x"
    if field.is_repeated:
        getattr(message, field.name).append(value_)
    else:
        setattr(message, field.name, value_)


def _name(of: str) -> str:
    return next((name for noun, name in NAMES.items() if noun in of), "nodes/a")


def _seeds() -> Iterator[tuple[str, str, bytes]]:
    for method in methods():
        message = filled(GetMessageClass(method.input_type)(), method.name)
        body = joined([message.SerializeToString()]) if method.client_streaming else message.SerializeToString()
        yield "requests", method.name, f"{method.name}\n".encode() + body
    yield from _up()
    yield from _down()


def _up() -> Iterator[tuple[str, str, bytes]]:
    facts = v1.ModelFacts()
    facts.CopyFrom(FACTS)
    full = v1.ObservedState(full=True, objects=[observed(PROFILE)])
    device = filled(v1.ObservedObject(), "Device")
    bodies = {
        "full": [v1.SessionRequest(session_epoch=1, observed=full)],
        "changes": [
            v1.SessionRequest(session_epoch=1, observed=full),
            v1.SessionRequest(session_epoch=1, observed=v1.ObservedState(objects=[device], removed=["backend/x"])),
        ],
        "heartbeat": [
            v1.SessionRequest(session_epoch=1, heartbeat=filled(v1.Heartbeat(), "Node")),
        ],
        "ack": [v1.SessionRequest(session_epoch=1, desired_ack=filled(v1.DesiredAck(), "Node"))],
        "pong": [v1.SessionRequest(session_epoch=1, pong=v1.Pong(nonce=1))],
        "stale": [v1.SessionRequest(session_epoch=99, heartbeat=v1.Heartbeat())],
    }
    for field in v1.ObservedObject.DESCRIPTOR.fields:
        if field.message_type is not None:
            each = v1.ObservedObject(id=f"{field.name}/x", digest="d")
            getattr(each, field.name).CopyFrom(filled(GetMessageClass(field.message_type)(), "Node"))
            state = v1.ObservedState(full=True, objects=[each])
            bodies[field.name] = [v1.SessionRequest(session_epoch=1, observed=state)]
    for name, messages in bodies.items():
        yield "session_up", name, b"\0" + joined([message.SerializeToString() for message in messages])
    hello = v1.SessionRequest(hello=filled(v1.Hello(), "Node"))
    yield "session_up", "hello", b"\1" + joined([hello.SerializeToString()])


def _down() -> Iterator[tuple[str, str, bytes]]:
    welcome = v1.SessionResponse(
        session_epoch=7,
        welcome=v1.Welcome(session_epoch=7, protocol=1, heartbeat_period=Duration(seconds=1)),
    )
    full = v1.DesiredObject(id="assignment/x", digest="d", assignment=filled(v1.Assignment(), "Instance"))
    full.assignment.assignment_id = "x"
    told = {
        "everything": [objects.everything(1, objects.assignment(), objects.query("q", "/m"), objects.logs("l", "a1"))],
        "filled": [objects.everything(1, full)],
        "tombstone": [
            objects.everything(1, objects.assignment()),
            objects.change(2, objects.tombstone(), after=1, removed=("assignment/a1",)),
        ],
        "mismatch": [objects.everything(1), objects.change(9, after=7)],
    }
    for name, states in told.items():
        said = [welcome, *(v1.SessionResponse(session_epoch=7, desired=state) for state in states)]
        yield "session_down", name, joined([message.SerializeToString() for message in said])
    for field in v1.SessionResponse.DESCRIPTOR.fields:
        if field.message_type is not None and field.name not in {"welcome", "desired"}:
            message = v1.SessionResponse(session_epoch=7)
            getattr(message, field.name).CopyFrom(filled(GetMessageClass(field.message_type)(), "Node"))
            yield "session_down", field.name, joined([welcome.SerializeToString(), message.SerializeToString()])


if __name__ == "__main__":
    main()
