"""What is left to claim on each node and device.

Left = min(total - reserved - claims, free - what is claimed and not used yet). What is observed to be free leaves out
other programs' use; claims that are not in use yet are about to take of it. Unknown memory is a state, never zero.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from motorpool_controller.domain.fleet import Device, DeviceUsage, MemoryKind, Node, NodeUsage
from motorpool_controller.domain.placement import Placement
from motorpool_controller.domain.workload import Instance, InstanceState
from motorpool_controller.scheduling.snapshot import Snapshot

MOST_HOLDERS = 8
RESERVED = "reserved"
OTHER_PROGRAMS = "other programs"
UNKNOWN = -1
MOST_BYTES = 1 << 52
"""More than this is no memory's size; up to it, floating point counts byte by byte."""

_NOT_LOADED = frozenset({InstanceState.SCHEDULED, InstanceState.DOWNLOADING})

Place = tuple[str, str]
"""Full name of a node and id of one of its devices; the empty id stands for host memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The state of one memory: bytes left, or None and why that is ``unknown``; who holds the rest, largest first."""

    available: int | None
    total: int | None = None
    reserved: int = 0
    unknown: str = ""
    holders: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class _Held:
    """What is held of one memory: bytes by instance, their sum, and the part that nothing uses yet."""

    claims: dict[str, int] = field(default_factory=dict)
    claimed: int = 0
    unloaded: int = 0


_NOTHING = _Held()
_NO_USAGE: Mapping[str, DeviceUsage] = {}
_NO_DEVICES: frozenset[str] = frozenset()


class Ledger:
    """The claims on a fleet, kept up claim by claim; a plan adds its own, so that requests account for one another."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self._host_usage: dict[str, NodeUsage] = {}
        self._device_usage: dict[str, dict[str, DeviceUsage]] = {}
        self._unified: dict[str, frozenset[str]] = {}
        self._held: dict[Place, _Held] = {}
        self._counts: dict[Place, int] = {}
        self._own_counts: defaultdict[str, dict[Place, int]] = defaultdict(dict)
        self._gangs: dict[tuple[str, str], set[str]] = {}
        if snapshot is not None:
            for node in snapshot.nodes.values():
                self.know(node)
            for name, usage in snapshot.usage.items():
                self.measure(name, usage)
            for instance in snapshot.instances.values():
                self.stand(instance)

    def know(self, node: Node) -> None:
        """Take a new or changed node. Its claims stay, and so may not stand if ``unified_of`` it changes."""
        unified = unified_of(node)
        if unified:
            self._unified[node.name] = unified
        else:
            self._unified.pop(node.name, None)

    def measure(self, node: str, usage: NodeUsage | None) -> None:
        """Take a node's latest measurement in place of the one before."""
        if usage is None:
            self._host_usage.pop(node, None)
            self._device_usage.pop(node, None)
            return
        self._host_usage[node] = usage
        self._device_usage[node] = {device.device_id: device for device in usage.devices}

    def stand(self, instance: Instance) -> None:
        """Take the claims of an instance that has a placement."""
        if instance.placement is not None:
            self.book(instance.name, instance.deployment, instance.placement, loaded=is_loaded(instance))

    def leave(self, instance: Instance) -> None:
        """Give back what ``stand`` took."""
        if instance.placement is not None:
            self.release(instance.name, instance.deployment, instance.placement, loaded=is_loaded(instance))

    def book(self, instance: str, deployment: str, placement: Placement, *, loaded: bool = False) -> None:
        """Add an instance's claims; one that is not ``loaded`` certainly uses nothing of them yet."""
        for place, size_bytes in self._parts(placement):
            held = self._held.get(place)
            if held is None:
                held = self._held[place] = _Held()
            held.claims[instance] = held.claims.get(instance, 0) + size_bytes
            held.claimed += size_bytes
            held.unloaded += 0 if loaded else size_bytes
        self._count(instance, deployment, placement, 1)

    def release(self, instance: str, deployment: str, placement: Placement, *, loaded: bool = False) -> None:
        """Take back what ``book`` added with the same arguments."""
        for place, size_bytes in self._parts(placement):
            held = self._held[place]
            left = held.claims[instance] - size_bytes
            held.claims[instance] = left
            held.claimed -= size_bytes
            held.unloaded -= 0 if loaded else size_bytes
            if left <= 0:
                del held.claims[instance]
            if not held.claims:
                del self._held[place]
        self._count(instance, deployment, placement, -1)

    def host_left(self, node: Node) -> int:
        """Return the bytes left of a node's host memory; UNKNOWN where nobody knows."""
        total = node.host.memory_bytes
        free, used, own = _host_figures(self._host_usage.get(node.name), total)
        return _left(
            total, node.reserved.memory_bytes, self._held.get((node.name, ""), _NOTHING), free=free, used=used, own=own
        )

    def device_left(self, node: Node, device: Device) -> int:
        """Return the bytes left of a device; where its memory is the host's, no more than is left of that."""
        place = (node.name, device.device_id)
        total = device.memory_bytes
        measured = self._device_usage.get(node.name, _NO_USAGE).get(device.device_id)
        used = None if measured is None else measured.used_bytes
        left = _left(
            total,
            node.reserved.device_memory_bytes,
            self._held.get(place, _NOTHING),
            free=None if used is None or total is None else total - used,
            used=used,
            own=None if measured is None else measured.own_bytes,
        )
        return min(left, self.host_left(node)) if self.shares_host(node, device) else left

    def host(self, node: Node) -> Room:
        """Return what is left of a node's host memory, and who holds the rest."""
        total = node.host.memory_bytes
        free, used, own = _host_figures(self._host_usage.get(node.name), total)
        held = self._held.get((node.name, ""), _NOTHING)
        return _room(total, node.reserved.memory_bytes, held, free=free, used=used, own=own)

    def device(self, node: Node, device: Device) -> Room:
        """Return what is left of a device's memory; where it is the host's, no more than is left of that."""
        place = (node.name, device.device_id)
        measured = self._device_usage.get(node.name, _NO_USAGE).get(device.device_id)
        used = None if measured is None else measured.used_bytes
        total = device.memory_bytes
        room = _room(
            total,
            node.reserved.device_memory_bytes,
            self._held.get(place, _NOTHING),
            free=None if used is None or total is None else total - used,
            used=used,
            own=None if measured is None else measured.own_bytes,
        )
        if not self.shares_host(node, device):
            return room
        host = self.host(node)
        if host.available is None or room.available is None:
            return host if host.available is None else room
        return min(room, host, key=lambda either: either.available or 0)

    def shares_host(self, node: Node, device: Device) -> bool:
        """Return whether the device's memory is the host's: one pool, claimed once (A11)."""
        return device.device_id in self._unified.get(node.name, ())

    def shared_by(self, node: str) -> frozenset[str]:
        """Return the ids of a node's devices whose memory is the host's."""
        return self._unified.get(node, _NO_DEVICES)

    def instances(self, node: str, device_id: str = "") -> int:
        """Return how many instances are on a node or device."""
        return self._counts.get((node, device_id), 0)

    def instances_of(self, deployment: str, node: str, device_id: str = "") -> int:
        """Return how many instances of one deployment are on a node or device."""
        own = self._own_counts.get(deployment)
        return 0 if own is None else own.get((node, device_id), 0)

    def places_of(self, deployment: str) -> Mapping[Place, int]:
        """Return how many instances of a deployment are on each node and device that has any."""
        return self._own_counts.get(deployment, {})

    def holders_on(self, node: str) -> set[str]:
        """Return the instances that hold memory of a node or its devices."""
        return {name for (there, _), held in self._held.items() if there == node for name in held.claims}

    def gangs(self, node: str, backend: str) -> frozenset[str]:
        """Return the instances of a backend that span several nodes, this one among them."""
        return frozenset(self._gangs.get((node, backend), ()))

    def gang_nodes(self, backend: str) -> list[str]:
        """Return the nodes that have an instance of the backend which spans several nodes."""
        return [node for node, name in self._gangs if name == backend]

    def _parts(self, placement: Placement) -> Iterator[tuple[Place, int]]:
        for member in placement.members:
            unified = self._unified.get(member.node, ())
            host = member.claim.memory_bytes
            for claim in member.claim.devices:
                if claim.memory_bytes:
                    yield (member.node, claim.device_id), claim.memory_bytes
                if claim.device_id in unified:
                    host += claim.memory_bytes
            if host:
                yield (member.node, ""), host

    def _count(self, instance: str, deployment: str, placement: Placement, by: int) -> None:
        """Count an instance once on each of its nodes and devices (A19)."""
        own = self._own_counts[deployment]
        for place in places_of(placement):
            for counts in (self._counts, own):
                count = counts.get(place, 0) + by
                if count:
                    counts[place] = count
                else:
                    del counts[place]
        if not own:
            del self._own_counts[deployment]
        if len(placement.members) == 1:
            return
        nodes = {member.node for member in placement.members}
        for node in nodes if len(nodes) > 1 else ():
            gang = self._gangs.setdefault((node, placement.backend), set())
            if by > 0:
                gang.add(instance)
            else:
                gang.discard(instance)
                if not gang:
                    del self._gangs[node, placement.backend]


def places_of(placement: Placement) -> Iterable[Place]:
    """Return the nodes and devices of a placement, each once (A19)."""
    places = [(member.node, "") for member in placement.members]
    places += [(member.node, claim.device_id) for member in placement.members for claim in member.claim.devices]
    return dict.fromkeys(places)


def is_loaded(instance: Instance) -> bool:
    """Return whether an instance may use anything of its claims yet."""
    return instance.state not in _NOT_LOADED


def is_size(size_bytes: int | None) -> TypeGuard[int]:
    """Return whether a memory can be this large."""
    return size_bytes is not None and 0 < size_bytes <= MOST_BYTES


def unified_of(node: Node) -> frozenset[str]:
    """Return the ids of a node's devices whose memory is the host's."""
    return frozenset(device.device_id for device in node.devices if device.memory_kind is MemoryKind.UNIFIED)


def _host_figures(usage: NodeUsage | None, total: int | None) -> tuple[int | None, int | None, int | None]:
    if usage is None:
        return None, None, None
    free, used = usage.memory_available_bytes, usage.memory_used_bytes
    if total is not None:
        free = total - used if free is None and used is not None else free
        used = total - free if used is None and free is not None else used
    return free, used, usage.memory_own_bytes


def _left(total: int | None, reserved: int, held: _Held, *, free: int | None, used: int | None, own: int | None) -> int:
    if not is_size(total) or free is None or used is None:
        return UNKNOWN
    if own is None:  # nobody tells whose the used bytes are
        return max(total - reserved - max(held.claimed, used + held.unloaded), 0)
    not_used_yet = held.unloaded + max(held.claimed - held.unloaded - own, 0)
    return max(min(total - reserved - held.claimed, free - not_used_yet), 0)


def _room(
    total: int | None, reserved: int, held: _Held, *, free: int | None, used: int | None, own: int | None
) -> Room:
    left = _left(total, reserved, held, free=free, used=used, own=own)
    if not is_size(total):
        said = "" if total is None else f", {total:,} bytes is none"
        return Room(available=None, unknown=f"its size is not known{said}")
    if left == UNKNOWN or used is None:
        return Room(available=None, total=total, unknown="how much of it is in use has not been measured")
    foreign = max(used + held.unloaded - held.claimed, 0) if own is None else max(used - own, 0)
    holders = [*held.claims.items(), (RESERVED, reserved), (OTHER_PROGRAMS, foreign)]
    largest = sorted((holder for holder in holders if holder[1] > 0), key=lambda holder: (-holder[1], holder[0]))
    return Room(available=left, total=total, reserved=reserved, holders=tuple(largest[:MOST_HOLDERS]))
