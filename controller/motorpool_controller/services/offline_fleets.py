"""A fleet on file: messages of the API in their JSON form become what a decision reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from motorpool import v1
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import DeviceUsage, Node, NodeState, NodeUsage, Profile
from motorpool_controller.domain.names import shown
from motorpool_controller.domain.placement import Claim, DeviceClaim, Member, Placement
from motorpool_controller.domain.workload import Instance, InstanceState
from motorpool_controller.scheduling.snapshot import Snapshot
from motorpool_controller.services.convert.backend import profile_digest, profile_of
from motorpool_controller.services.convert.device import device_of
from motorpool_controller.services.convert.fields import invalid, size
from motorpool_controller.services.convert.node import host_of, reserved_of, usage_of
from motorpool_controller.services.known import BUILT_IN
from motorpool_controller.services.offline_moulds import (
    OF_INSTANCE,
    NodeMould,
    cast_placement,
    mould_of_instance,
    mould_of_node,
)

_BUILT_IN = "built-in/"
"""Digests of built-in profiles begin so."""

_BEGINNING = datetime.min.replace(tzinfo=UTC)

_M = TypeVar("_M", bound=Message)


def read_document(file: Path) -> dict[str, object]:
    """Return the object of a file of JSON."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise InvalidError("FILE_UNREADABLE", f"{file}: {error.strerror}; name a file of JSON") from error
    return document_of(text, str(file))


def document_of(text: bytes, where: str) -> dict[str, object]:
    """Return the object of a text of JSON."""
    try:
        try:
            document = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            document = json.loads(text)  # tells the line
    except (ValueError, RecursionError) as error:
        raise InvalidError("FILE_INVALID", f"{where} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidError("FILE_INVALID", f"{where} holds no object; see examples/plans")
    return document


def message_of(document: Any, message: _M, where: str) -> _M:
    """Return a message of the API from its JSON form."""
    try:
        return ParseDict(document, message)
    except (ParseError, AttributeError, TypeError, ValueError) as error:
        raise InvalidError("FILE_INVALID", f"{where}: {error}; see examples/plans") from error


def fleet_of(document: dict[str, object], where: str) -> Snapshot:
    """Return the fleet of a document."""
    for key in document:
        if key not in {"nodes", "backends", "instances"}:
            raise InvalidError("FILE_INVALID", f"{where}: {shown(key)} is none of nodes, backends, instances")
    read = _Nodes(where)
    nodes = {node.name: node for node in map(read.node, _list(document, "nodes", where))}
    profiles, offered = _offered(document, where, nodes)
    stand = _Instances(where)
    instances = list(map(stand.instance, _list(document, "instances", where)))
    held = _held(instances)
    return Snapshot(
        nodes={name: replace(node, profiles=offered[name]) for name, node in nodes.items()},
        profiles=profiles,
        instances={instance.name: instance for instance in instances},
        usage={name: read.usage(node, held.get(name, {"": 0})) for name, node in nodes.items()},
    )


def of_version(fleet: Snapshot, version: str) -> Snapshot:
    """Return a fleet whose built-in profiles, which know of no version, have the one that is asked for."""
    asked = {
        digest: _of_version(BUILT_IN[digest.removeprefix(_BUILT_IN)], version)
        for digest in fleet.profiles
        if digest.startswith(_BUILT_IN)
    }
    return replace(fleet, profiles={**fleet.profiles, **asked})


def _offered(
    document: dict[str, object], where: str, nodes: Iterable[str]
) -> tuple[dict[str, Profile], dict[str, dict[str, str]]]:
    """Return the profiles by digest, and which each node offers by name of the backend."""
    profiles: dict[str, Profile] = {}
    offered: dict[str, dict[str, str]] = {name: {} for name in nodes}
    for number, each in enumerate(_list(document, "backends", where)):
        backend = message_of(each, v1.Backend(), f"{where}: backends[{number}]")
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
            profiles[_BUILT_IN + name] = known
            for offers in offered.values():
                offers[name] = _BUILT_IN + name
    return profiles, offered


class _Nodes:
    """Reads nodes, one after another."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._number = -1
        self._known: dict[bytes, NodeMould] = {}
        self._told: dict[str, NodeUsage] = {}
        self._usage: dict[tuple[object, ...], NodeUsage] = {}

    def node(self, document: Any) -> Node:
        """Return the next node."""
        self._number += 1
        key = mould_of_node(document)
        like = self._known.get(key)
        if like is not None:
            return like.cast(document)
        message = message_of(document, v1.Node(), f"{self._where}: nodes[{self._number}]")
        node = _node(message, self._number)
        if message.HasField("usage"):
            # A measurement has the devices' names in it: a node that tells of one is no mould.
            self._told[node.name] = usage_of(message.usage, _BEGINNING, f"{node.name}.usage")
        elif key:
            self._known[key] = NodeMould(node)
        return node

    def usage(self, node: Node, held: Mapping[str, int]) -> NodeUsage:
        """Return what the file says of a node's use; without a word of it, only the instances use anything."""
        if node.name in self._told:
            return self._told[node.name]
        key = (id(node.devices), id(node.host), *sorted(held.items()))
        if key not in self._usage:
            self._usage[key] = _usage(node, held)
        return self._usage[key]


class _Instances:
    """Reads instances, one after another."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._number = -1
        self._known: dict[bytes, Placement] = {}

    def instance(self, document: Any) -> Instance:
        """Return the next instance."""
        self._number += 1
        number = self._number
        key = mould_of_instance(document)
        like = self._known.get(key)
        if like is not None:
            placement = cast_placement(document, like)
            name, uid, deployment = (document.get(field, "") for field in OF_INSTANCE)
        else:
            message = message_of(document, v1.Instance(), f"{self._where}: instances[{number}]")
            placement = _placement(message, number)
            name, uid, deployment = message.name, message.uid, message.deployment
            if key:
                self._known[key] = placement
        return Instance(
            name=name or f"instances/file-{number}",
            uid=uid or f"file-{number}",
            deployment=deployment or "deployments/file",
            deployment_generation=1,
            create_time=_BEGINNING,
            state_time=_BEGINNING,
            state=InstanceState.RUNNING,
            placement=placement,
        )


def _list(document: dict[str, object], key: str, where: str) -> list[object]:
    found = document.get(key, [])
    if not isinstance(found, list):
        raise InvalidError("FILE_INVALID", f"{where}: {key} is no list; see examples/plans")
    return found


def _of_version(profile: Profile, version: str) -> Profile:
    """Return a built-in profile with a version."""
    if version in {"", *(each.version for each in profile.versions)}:
        return profile
    return replace(profile, versions=tuple(replace(each, version=version) for each in profile.versions))


def _node(message: v1.Node, number: int) -> Node:
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


def _usage(node: Node, held: Mapping[str, int]) -> NodeUsage:
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


def _placement(message: v1.Instance, number: int) -> Placement:
    path = f"instances[{number}]"
    if not message.placement.members:
        raise invalid(f"{path}.placement.members", "an instance on file stands somewhere; give its nodes and claims")
    members = (
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
    return Placement(members=tuple(members), framework=message.placement.framework, backend="", backend_version="")
