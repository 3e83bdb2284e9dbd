"""The fleet as it would be without a node, or with more like one of its own; ``snapshot.without`` takes an instance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count, islice

from motorpool_controller.domain.fleet import DeviceUsage, Node, NodeState, NodeUsage
from motorpool_controller.domain.names import id_of, node_name
from motorpool_controller.scheduling.snapshot import Snapshot

NEVER = datetime.min.replace(tzinfo=UTC)


def without_node(snapshot: Snapshot, node: str) -> Snapshot:
    """Return the fleet as it would be had the node (its full name) been removed, with what runs there."""
    return replace(
        snapshot,
        nodes={name: each for name, each in snapshot.nodes.items() if name != node},
        usage={name: each for name, each in snapshot.usage.items() if name != node},
        instances={
            name: each
            for name, each in snapshot.instances.items()
            if each.placement is None or all(member.node != node for member in each.placement.members)
        },
    )


def with_more(snapshot: Snapshot, like: Node, names: Iterable[str]) -> Snapshot:
    """Return the fleet with further nodes of these full names: like one of its own, ready, and all memory free.

    They know of models what that node knows: whether a path would be there, nobody can say otherwise.
    """
    nodes, usage, readings = dict(snapshot.nodes), dict(snapshot.usage), dict(snapshot.readings)
    known = [(path, reading) for (node, path), reading in snapshot.readings.items() if node == like.name]
    for name in names:
        nodes[name] = replace(
            like,
            name=name,
            state=NodeState.READY,
            refused="",
            cordoned=False,
            cordoned_devices=(),
            cordons={},
            devices=tuple(replace(device, cordoned=False) for device in like.devices),
        )
        usage[name] = _unused(like)
        readings.update({(name, path): reading for path, reading in known})
    return replace(snapshot, nodes=nodes, usage=usage, readings=readings)


def names_like(snapshot: Snapshot, like: Node, number: int) -> list[str]:
    """Return full names for so many further nodes, such as no node has."""
    names = (node_name(f"{id_of(like.name)}-new-{each}") for each in count(1))
    return list(islice((name for name in names if name not in snapshot.nodes), number))


def resized(
    node: Node, *, devices: int | None = None, device_memory_bytes: int | None = None, memory_bytes: int | None = None
) -> Node:
    """Return a node like this one with so many devices like its first, of this size, and this much host memory."""
    cards = node.devices
    if devices is not None:
        cards = tuple(
            replace(each, device_id=f"{each.device_id}-new-{number}", index=number, partition_of="", links=())
            for number in range(devices)
            for each in cards[:1]
        )
    if device_memory_bytes is not None:
        cards = tuple(replace(each, memory_bytes=device_memory_bytes) for each in cards)
    host = node.host if memory_bytes is None else replace(node.host, memory_bytes=memory_bytes)
    return replace(node, devices=cards, host=host)


def _unused(node: Node) -> NodeUsage:
    return NodeUsage(
        measure_time=NEVER,
        memory_used_bytes=0,
        memory_available_bytes=node.host.memory_bytes,
        memory_own_bytes=0,
        devices=tuple(DeviceUsage(device_id=device.device_id, used_bytes=0, own_bytes=0) for device in node.devices),
    )
