"""What is left to claim on each node and device.

Left = min(total - reserved - claims, free - what is claimed and not used yet). What is observed to be free leaves out
other programs' use; claims that are not in use yet are about to take of it. Unknown memory is a state, never zero.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from motorpool_controller.domain.fleet import Device, DeviceUsage, MemoryKind, Node, NodeUsage
from motorpool_controller.domain.placement import Placement
from motorpool_controller.domain.workload import InstanceState
from motorpool_controller.scheduling.snapshot import Snapshot

MOST_HOLDERS = 8
RESERVED = "reserved"
OTHER_PROGRAMS = "other programs"

_NOT_LOADED = frozenset({InstanceState.SCHEDULED, InstanceState.DOWNLOADING})

_Key = tuple[str, str]
"""Full name of a node and id of one of its devices; the empty id stands for host memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The state of one memory: bytes left, or None and why that is ``unknown``; who holds the rest, largest first."""

    available: int | None
    total: int | None = None
    unknown: str = ""
    holders: tuple[tuple[str, int], ...] = ()


class Ledger:
    """The claims on a fleet: a snapshot's, and those a plan adds, so that requests account for one another."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._usage = snapshot.usage
        self._unified = {
            (node.name, device.device_id)
            for node in snapshot.nodes.values()
            for device in node.devices
            if device.memory_kind is MemoryKind.UNIFIED
        }
        self._claims: defaultdict[_Key, dict[str, int]] = defaultdict(dict)
        self._unloaded: Counter[_Key] = Counter()
        self._counts: Counter[_Key] = Counter()
        self._own_counts: Counter[tuple[str, str, str]] = Counter()
        for name in sorted(snapshot.instances):
            instance = snapshot.instances[name]
            if instance.placement is not None:
                self.book(name, instance.deployment, instance.placement, loaded=instance.state not in _NOT_LOADED)

    def book(self, instance: str, deployment: str, placement: Placement, *, loaded: bool = False) -> None:
        """Add an instance's claims; one that is not ``loaded`` certainly uses nothing of them yet."""
        for member in placement.members:
            host = (member.node, "")
            self._add(host, instance, member.claim.memory_bytes, loaded=loaded)
            self._count(host, deployment)
            for claim in member.claim.devices:
                key = (member.node, claim.device_id)
                self._add(key, instance, claim.memory_bytes, loaded=loaded)
                self._count(key, deployment)
                if key in self._unified:
                    self._add(host, instance, claim.memory_bytes, loaded=loaded)

    def host(self, node: Node) -> Room:
        """Return what is left of a node's host memory."""
        usage = self._usage.get(node.name)
        free, used, own = _host_figures(usage, node.host.memory_bytes)
        return _room(
            total=node.host.memory_bytes,
            reserved=node.reserved.memory_bytes,
            claims=self._claims.get((node.name, ""), {}),
            unloaded=self._unloaded[node.name, ""],
            free=free,
            used=used,
            own=own,
        )

    def device(self, node: Node, device: Device) -> Room:
        """Return what is left of a device's memory; where it is the host's, no more than is left of that."""
        measured = _device_usage(self._usage.get(node.name), device.device_id)
        used = measured.used_bytes if measured is not None else None
        total = device.memory_bytes
        room = _room(
            total=total,
            reserved=node.reserved.device_memory_bytes,
            claims=self._claims.get((node.name, device.device_id), {}),
            unloaded=self._unloaded[node.name, device.device_id],
            free=None if used is None or total is None else total - used,
            used=used,
            own=measured.own_bytes if measured is not None else None,
        )
        if (node.name, device.device_id) not in self._unified:
            return room
        host = self.host(node)
        if host.available is None or room.available is None:
            return host if host.available is None else room
        return min(room, host, key=lambda either: either.available or 0)

    def shares_host(self, node: Node, device: Device) -> bool:
        """Return whether the device's memory is the host's: one pool, claimed once (A11)."""
        return (node.name, device.device_id) in self._unified

    def instances(self, node: str, device_id: str = "") -> int:
        """Return how many instances are on a node or device."""
        return self._counts[node, device_id]

    def instances_of(self, deployment: str, node: str, device_id: str = "") -> int:
        """Return how many instances of one deployment are on a node or device."""
        return self._own_counts[node, device_id, deployment]

    def _add(self, key: _Key, instance: str, size_bytes: int, *, loaded: bool) -> None:
        if not loaded:
            self._unloaded[key] += size_bytes
        claims = self._claims[key]
        claims[instance] = claims.get(instance, 0) + size_bytes

    def _count(self, key: _Key, deployment: str) -> None:
        self._counts[key] += 1
        self._own_counts[*key, deployment] += 1


def _host_figures(usage: NodeUsage | None, total: int | None) -> tuple[int | None, int | None, int | None]:
    if usage is None:
        return None, None, None
    free, used = usage.memory_available_bytes, usage.memory_used_bytes
    if total is not None:
        free = total - used if free is None and used is not None else free
        used = total - free if used is None and free is not None else used
    return free, used, usage.memory_own_bytes


def _device_usage(usage: NodeUsage | None, device_id: str) -> DeviceUsage | None:
    if usage is None:
        return None
    return next((device for device in usage.devices if device.device_id == device_id), None)


def _room(
    *,
    total: int | None,
    reserved: int,
    claims: Mapping[str, int],
    unloaded: int,
    free: int | None,
    used: int | None,
    own: int | None,
) -> Room:
    if not total or total < 0:
        return Room(available=None, unknown="its size is not known")
    if free is None or used is None:
        return Room(available=None, total=total, unknown="how much of it is in use has not been measured")
    claimed = sum(claims.values())
    if own is None:  # nobody tells whose the used bytes are
        left = total - reserved - max(claimed, used + unloaded)
        foreign = max(used + unloaded - claimed, 0)
    else:
        left = min(total - reserved - claimed, free - unloaded - max(claimed - unloaded - own, 0))
        foreign = max(used - own, 0)
    holders = [*claims.items(), (RESERVED, reserved), (OTHER_PROGRAMS, foreign)]
    held = sorted((holder for holder in holders if holder[1] > 0), key=lambda holder: (-holder[1], holder[0]))
    return Room(available=max(left, 0), total=total, holders=tuple(held[:MOST_HOLDERS]))
