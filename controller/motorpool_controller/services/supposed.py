"""The fleet as it is, or as a question supposes it to be: without some of it, or with more nodes like its own."""

from __future__ import annotations

from collections.abc import Iterable

from motorpool import v1
from motorpool_controller.domain.backends import declared_profiles
from motorpool_controller.domain.errors import NotFoundError
from motorpool_controller.domain.fleet import Node
from motorpool_controller.domain.names import resource_id, shown
from motorpool_controller.domain.pinning import facts_by_place
from motorpool_controller.domain.workload import Instance
from motorpool_controller.scheduling.snapshot import Reading, Snapshot, suspecting, without
from motorpool_controller.scheduling.whatif import names_like, resized, with_more, without_node
from motorpool_controller.services.convert import fields
from motorpool_controller.store.live import Live
from motorpool_controller.store.view import View

MOST_ADDED = 1_000
MOST_DEVICES = 64


def fleet_now(view: View, live: Live) -> Snapshot:
    """Return the fleet as it is."""
    return Snapshot(
        nodes=suspecting(view.nodes, live.suspects(view.nodes)),
        profiles=view.profiles,
        instances=view.instances,
        usage=live.settled_usage,
        readings=live.readings,
        peaks=view.peaks,
        declared=declared_profiles(view.backends),
        hub_models={place: Reading(facts=facts) for place, facts in facts_by_place(view.deployments.values()).items()},
        files=live.files.complete,
    )


def supposed(
    now: Snapshot, standing: Iterable[Instance], gone: Iterable[str] = (), added: Iterable[v1.AddedNodes] = ()
) -> Snapshot:
    """Return the fleet without these instances, and as else is supposed."""
    snapshot = now
    for instance in standing:
        snapshot = without(snapshot, instance)
    for name in gone:
        if name in snapshot.nodes:
            snapshot = without_node(snapshot, name)
        elif name in now.instances:
            if name in snapshot.instances:
                snapshot = without(snapshot, now.instances[name])
        else:
            raise NotFoundError("NOT_FOUND", f"without: {shown(name)} does not exist; give nodes/… or instances/…")
    for index, each in enumerate(added):
        like, count = _added(now, each, f"add_nodes[{index}]")
        snapshot = with_more(snapshot, like, names_like(snapshot, like, count))
    return snapshot


def _added(now: Snapshot, added: v1.AddedNodes, field: str) -> tuple[Node, int]:
    resource_id(added.like, "nodes", f"{field}.like")
    like = now.nodes.get(added.like)
    if like is None:
        raise NotFoundError(
            "NOT_FOUND", f"{field}.like: {shown(added.like)} does not exist; give one of the fleet's nodes"
        )
    _check(f"{field}.count", added.count, MOST_ADDED)
    devices = added.devices if added.HasField("devices") else None
    if devices is not None:
        _check(f"{field}.devices", devices, MOST_DEVICES, least=0)
        if devices and not like.devices:
            raise fields.invalid(f"{field}.devices", f"{added.like} has no device that they could be like")
    return (
        resized(
            like,
            devices=devices,
            device_memory_bytes=(
                fields.size(added.device_memory_bytes, f"{field}.device_memory_bytes")
                if added.HasField("device_memory_bytes")
                else None
            ),
            memory_bytes=(
                fields.size(added.memory_bytes, f"{field}.memory_bytes") if added.HasField("memory_bytes") else None
            ),
        ),
        added.count,
    )


def _check(field: str, number: int, most: int, *, least: int = 1) -> None:
    if not least <= number <= most:
        raise fields.invalid(field, f"{number} is not between {least} and {most:,}")
