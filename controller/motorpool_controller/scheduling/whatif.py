"""The fleet as it would be without a node, or with more like one of its own; ``snapshot.without`` takes an instance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from motorpool_controller.domain.fleet import DeviceUsage, Node, NodeState, NodeUsage
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
            devices=tuple(replace(device, cordoned=False) for device in like.devices),
        )
        usage[name] = _unused(like)
        readings.update({(name, path): reading for path, reading in known})
    return replace(snapshot, nodes=nodes, usage=usage, readings=readings)


def _unused(node: Node) -> NodeUsage:
    return NodeUsage(
        measure_time=NEVER,
        memory_used_bytes=0,
        memory_available_bytes=node.host.memory_bytes,
        memory_own_bytes=0,
        devices=tuple(DeviceUsage(device_id=device.device_id, used_bytes=0, own_bytes=0) for device in node.devices),
    )
