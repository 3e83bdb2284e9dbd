"""``motorpool-controller plan``: where a deployment would go in a fleet on file, without a server or a network.

The fleet is an object of lists, each of messages of the API in their JSON form: ``nodes`` (Node), ``backends``
(Backend: a profile and the nodes that offer it; none named means all; of backends that the file does not name, every
node offers the built-in profile), ``instances`` (Instance, of which the placement counts). The deployment is a
Deployment: its spec, and the facts of its model. examples/plans has some.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from motorpool import v1
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import DeviceUsage, Node, NodeState, NodeUsage, Profile
from motorpool_controller.domain.names import deployment_name, id_of, shown
from motorpool_controller.domain.placement import Claim, DeviceClaim, Member, Placement
from motorpool_controller.domain.specs import check_spec
from motorpool_controller.domain.workload import Instance, InstanceState, ModelSource, SourceKind
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.scheduler import explain, schedule
from motorpool_controller.scheduling.snapshot import Reading, Snapshot, wished
from motorpool_controller.scheduling.suggestions import advised
from motorpool_controller.services.convert.backend import profile_digest, profile_of
from motorpool_controller.services.convert.device import device_of
from motorpool_controller.services.convert.facts import facts_of
from motorpool_controller.services.convert.fields import invalid, size
from motorpool_controller.services.convert.node import host_of, reserved_of, usage_of
from motorpool_controller.services.convert.spec import spec_of
from motorpool_controller.services.known import BUILT_IN
from motorpool_controller.services.offline_reports import OfflinePlan, plan_json, plan_text

PLACES = 20
MOST_PLACES = 100_000
MODEL_PATH = "/model"
_BEGINNING = datetime.min.replace(tzinfo=UTC)

_M = TypeVar("_M", bound=Message)


def plan_of_files(fleet_file: Path, deployment_file: Path, output: str, *, places: int = PLACES, skip: int = 0) -> str:
    """Return the plan of a deployment on a fleet as ``text`` or ``json``; raise an InvalidError.

    Of the first instance so many ``places`` are told, 0 means all, after the best ``skip``.
    """
    if output not in {"text", "json"}:
        raise invalid("--output", f"{shown(output)} is none of text, json")
    for option, number in (("--places", places), ("--skip", skip)):
        if not 0 <= number <= MOST_PLACES:
            raise invalid(option, f"{number} is not between 0 and {MOST_PLACES:,}")
    planned = plan_offline(fleet_file, deployment_file, most=skip + places if places else MOST_PLACES)
    return plan_text(planned, skip) if output == "text" else plan_json(planned, skip)


def plan_offline(fleet_file: Path, deployment_file: Path, *, most: int = MOST_PLACES) -> OfflinePlan:
    """Return what would become of each instance, the first with its ``most`` best places; raise an InvalidError."""
    fleet = _read(fleet_file)
    message = _message(_read(deployment_file), v1.Deployment(), str(deployment_file))
    spec = spec_of(message.spec)
    if not message.HasField("facts") and spec.claim_device_memory_bytes is None and spec.claim_memory_bytes is None:
        raise invalid(
            "facts", "what the model is has to stand in the file, e.g. as `motorpool model inspect -o json` says"
        )
    if not message.HasField("facts"):
        reading = Reading(error_reason="MODEL_FORMAT_UNKNOWN", error_message="the file gives no facts")
    else:
        reading = Reading(facts=facts_of(message.facts, "facts"))
    if spec.model.kind is not SourceKind.LOCAL_PATH or not spec.model.path:
        # Where the model lies is no matter here.
        spec = replace(spec, model=ModelSource(kind=SourceKind.LOCAL_PATH, path=MODEL_PATH))
    check_spec(spec)
    snapshot = _snapshot(fleet, str(fleet_file), spec.backend_version)
    snapshot = replace(snapshot, readings={(node, spec.model.path): reading for node in snapshot.nodes})
    name = deployment_name(id_of(message.name) or "plan")
    requests = wished(name, spec)
    columns = Columns.of(snapshot)
    first = explain(snapshot, requests[0], columns, most=max(most, 2))
    plan = schedule(snapshot, requests, columns)
    verdicts = (first, *(plan.verdicts[request.name] for request in requests[1:]))
    if all(verdict.placement is not None for verdict in verdicts):
        return OfflinePlan(verdicts=verdicts)
    return OfflinePlan(verdicts=verdicts, suggestions=advised(snapshot, requests, columns).suggestions)


def _read(file: Path) -> dict[str, object]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidError("FILE_UNREADABLE", f"{file}: {error.strerror}; name a file of JSON") from error
    except (ValueError, RecursionError) as error:
        raise InvalidError("FILE_INVALID", f"{file} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidError("FILE_INVALID", f"{file} holds no object; see examples/plans")
    return document


def _message(document: Any, message: _M, where: str) -> _M:
    try:
        return ParseDict(document, message)
    except (ParseError, AttributeError, TypeError, ValueError) as error:
        raise InvalidError("FILE_INVALID", f"{where}: {error}; see examples/plans") from error


def _list(document: dict[str, object], key: str, where: str) -> list[object]:
    found = document.get(key, [])
    if not isinstance(found, list):
        raise InvalidError("FILE_INVALID", f"{where}: {key} is no list; see examples/plans")
    return found


def _snapshot(document: dict[str, object], where: str, version: str) -> Snapshot:
    for key in document:
        if key not in {"nodes", "backends", "instances"}:
            raise InvalidError("FILE_INVALID", f"{where}: {shown(key)} is none of nodes, backends, instances")
    messages = [
        _message(each, v1.Node(), f"{where}: nodes[{number}]")
        for number, each in enumerate(_list(document, "nodes", where))
    ]
    profiles: dict[str, Profile] = {}
    offered: dict[str, dict[str, str]] = {message.name: {} for message in messages}
    for number, each in enumerate(_list(document, "backends", where)):
        backend = _message(each, v1.Backend(), f"{where}: backends[{number}]")
        profile = profile_of(backend.profile, f"backends[{number}].profile")
        digest = profile_digest(profile)
        profiles[digest] = profile
        for node in backend.nodes or offered:
            if node not in offered:
                raise InvalidError("FILE_INVALID", f"{where}: backends[{number}]: {shown(node)} is no node of the file")
            offered[node][profile.backend] = digest
    named = {profile.backend for profile in profiles.values()}
    for name, known in BUILT_IN.items():
        if name not in named:
            profiles[f"built-in/{name}"] = _of_version(known, version)
            for offers in offered.values():
                offers[name] = f"built-in/{name}"
    nodes = {message.name: _node(message, offered[message.name], n) for n, message in enumerate(messages)}
    instances = [
        _instance(_message(each, v1.Instance(), f"{where}: instances[{number}]"), number)
        for number, each in enumerate(_list(document, "instances", where))
    ]
    held = _held(instances)
    return Snapshot(
        nodes=nodes,
        profiles=profiles,
        instances={instance.name: instance for instance in instances},
        usage={
            message.name: _usage(message, nodes[message.name], held.get(message.name, {"": 0})) for message in messages
        },
    )


def _of_version(profile: Profile, version: str) -> Profile:
    """Return a built-in profile with the version that is asked for: which ones there are is not what it knows."""
    if version in {"", *(each.version for each in profile.versions)}:
        return profile
    return replace(profile, versions=tuple(replace(each, version=version) for each in profile.versions))


def _node(message: v1.Node, profiles: dict[str, str], number: int) -> Node:
    path = f"nodes[{number}]"
    if not message.name.startswith("nodes/"):
        raise invalid(f"{path}.name", f"{shown(message.name)} is not of the form nodes/NODE")
    ready = message.state in {v1.NODE_STATE_UNSPECIFIED, v1.NODE_STATE_READY}
    return Node(
        name=message.name,
        uid=message.name,
        enrollment_id=message.name,
        create_time=_BEGINNING,
        state=NodeState.READY if ready else NodeState.UNREACHABLE,
        operator_labels=dict(message.labels),
        host=host_of(message.host, f"{path}.host"),
        reserved=reserved_of(message.reserved, f"{path}.reserved"),
        cordoned=message.cordoned,
        cordoned_devices=tuple(device.device_id for device in message.devices if device.cordoned),
        devices=tuple(device_of(each, f"{path}.devices[{n}]") for n, each in enumerate(message.devices)),
        profiles=profiles,
    )


def _held(instances: Iterable[Instance]) -> dict[str, dict[str, int]]:
    """Return what instances hold, by full name of the node: host memory by the name "", and each device by its id."""
    held: dict[str, dict[str, int]] = {}
    for instance in instances:
        for member in () if instance.placement is None else instance.placement.members:
            here = held.setdefault(member.node, {"": 0})
            here[""] += member.claim.memory_bytes
            for claim in member.claim.devices:
                here[claim.device_id] = here.get(claim.device_id, 0) + claim.memory_bytes
    return held


def _usage(message: v1.Node, node: Node, held: Mapping[str, int]) -> NodeUsage:
    """Return what the file says of a node's use; without a word of it, only the instances use anything."""
    if message.HasField("usage"):
        return usage_of(message.usage, _BEGINNING, f"{node.name}.usage")
    total = node.host.memory_bytes
    return NodeUsage(
        measure_time=_BEGINNING,
        memory_used_bytes=held[""],
        memory_available_bytes=None if total is None else max(total - held[""], 0),
        memory_own_bytes=held[""],
        devices=tuple(
            DeviceUsage(
                device_id=device.device_id,
                used_bytes=held.get(device.device_id, 0),
                own_bytes=held.get(device.device_id, 0),
            )
            for device in node.devices
        ),
    )


def _instance(message: v1.Instance, number: int) -> Instance:
    path = f"instances[{number}]"
    if not message.placement.members:
        raise invalid(f"{path}.placement.members", "an instance on file stands somewhere; give its nodes and claims")
    members = tuple(
        Member(
            node=member.node,
            rank=member.rank,
            claim=Claim(
                memory_bytes=size(member.claim.memory_bytes, f"{path}.claim.memory_bytes"),
                devices=tuple(
                    DeviceClaim(claim.device_id, size(claim.memory_bytes, f"{path}.claim.devices.memory_bytes"))
                    for claim in member.claim.devices
                ),
            ),
        )
        for member in message.placement.members
    )
    placement = Placement(members=members, framework=message.placement.framework, backend="", backend_version="")
    return Instance(
        name=message.name or f"instances/file-{number}",
        uid=message.uid or f"file-{number}",
        deployment=message.deployment or "deployments/file",
        deployment_generation=1,
        create_time=_BEGINNING,
        state_time=_BEGINNING,
        state=InstanceState.RUNNING,
        placement=placement,
    )
