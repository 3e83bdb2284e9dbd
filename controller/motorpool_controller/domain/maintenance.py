"""Cordons and drains: what operators set on nodes, devices and instances, and whom it concerns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from motorpool_controller.domain.fleet import Cordon, Drain, Node
from motorpool_controller.domain.names import device_name
from motorpool_controller.domain.workload import Instance

WHOLE = ""
"""In place of a device's id: the node itself."""

_NEVER = datetime.max.replace(tzinfo=UTC)


def cordoned(node: Node, device_id: str, cordon: Cordon) -> Node:
    """Return the node with itself, or a device of it, cordoned."""
    cordons = {**node.cordons, device_id: cordon}
    if device_id == WHOLE:
        return replace(node, cordons=cordons, cordoned=True)
    return _with_devices(replace(node, cordons=cordons), {*node.cordoned_devices, device_id})


def uncordoned(node: Node, device_id: str) -> Node:
    """Return the node with itself, or a device of it, free to take work, and without drain."""
    cordons = {key: cordon for key, cordon in node.cordons.items() if key != device_id}
    if device_id == WHOLE:
        return replace(node, cordons=cordons, cordoned=False)
    return _with_devices(replace(node, cordons=cordons), {*node.cordoned_devices} - {device_id})


def is_cordoned(node: Node, device_id: str) -> bool:
    """Return whether a node, or a device of it, is cordoned itself."""
    return node.cordoned if device_id == WHOLE else device_id in node.cordoned_devices


def subject_of(node: str, device_id: str) -> str:
    """Return the full name of what is cordoned."""
    return node if device_id == WHOLE else device_name(node, device_id)


def with_drain(node: Node, device_id: str, drain: Drain) -> Node:
    """Return the node with another drain of itself, or of a device of it, which is cordoned."""
    cordon = node.cordons[device_id]
    return replace(node, cordons={**node.cordons, device_id: replace(cordon, drain=drain)})


def is_drained(node: Node) -> bool:
    """Return whether anything is moved away from a node, or was until nothing was left."""
    return any(cordon.drain is not None for cordon in node.cordons.values())


def drain_of(instance: Instance, nodes: Mapping[str, Node]) -> Drain | None:
    """Return by what an instance is moved: its own drain, or its devices' or nodes'; the one that ends first."""
    drains = [] if instance.drain is None else [instance.drain]
    for member in () if instance.placement is None else instance.placement.members:
        node = nodes.get(member.node)
        if node is not None and node.cordons:
            drains += [drain for key, drain in drains_on(node) if concerns(node, key, instance)]
    return min(drains, key=lambda drain: (drain.deadline_time or _NEVER, drain.time), default=None)


def drains_on(node: Node) -> Iterator[tuple[str, Drain]]:
    """Give the drains of a node and its devices, by device."""
    for device_id, cordon in node.cordons.items():
        if cordon.drain is not None:
            yield device_id, cordon.drain


def concerns(node: Node, device_id: str, instance: Instance) -> bool:
    """Return whether an instance has something of a node, or of a device of it or a part of that device."""
    members = () if instance.placement is None else instance.placement.members
    own = [member for member in members if member.node == node.name]
    if device_id == WHOLE:
        return bool(own)
    parts = {device.device_id for device in node.devices if device.partition_of == device_id}
    return any(claim.device_id in {device_id, *parts} for member in own for claim in member.claim.devices)


def why_cordoned(node: Node, device_id: str) -> str:
    """Return who cordoned a node or device, and for what, in words that follow "is cordoned"."""
    cordon = node.cordons.get(device_id)
    if cordon is None:
        return ""
    return _by(cordon.actor, cordon.reason)


def why_drained(drain: Drain) -> str:
    """Return who drains, and for what, in words that follow "is drained"."""
    return _by(drain.actor, drain.reason)


def _by(actor: str, reason: str) -> str:
    return (f" by {actor}" if actor else "") + (f": {reason.rstrip('. ')}" if reason else "")


def _with_devices(node: Node, cordoned_devices: set[str]) -> Node:
    return replace(
        node,
        cordoned_devices=tuple(sorted(cordoned_devices)),
        devices=tuple(replace(device, cordoned=device.device_id in cordoned_devices) for device in node.devices),
    )
