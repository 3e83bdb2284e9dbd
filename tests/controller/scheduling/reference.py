"""A slow selector, written from the rules alone: loops over nodes and devices, nothing kept, nothing clever.

What the fast one decides is held against it. Rules of backends (``rules/``) are shared, and have tests of their own;
so are the filters' answers about one node.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor

from motorpool_controller.domain.fleet import Device, Health, MemoryKind, Node
from motorpool_controller.domain.placement import Placement
from motorpool_controller.domain.sizes import MIB
from motorpool_controller.domain.workload import InstanceState, Strategy
from motorpool_controller.estimation.needs import needs_of
from motorpool_controller.scheduling.demand import Demand
from motorpool_controller.scheduling.filters import examined, pinned, pins_of
from motorpool_controller.scheduling.passing import Passing
from motorpool_controller.scheduling.rules.registry import RULES
from motorpool_controller.scheduling.rules.wish import Wish
from motorpool_controller.scheduling.snapshot import Reading, Request, Snapshot

Part = tuple[str, int, tuple[tuple[str, int], ...]]
"""Node, bytes of host memory, bytes by device."""


@dataclass(frozen=True)
class Place:
    """A feasible placement."""

    framework: str
    fraction: float | None
    parts: tuple[Part, ...]


def as_place(placement: Placement) -> Place:
    """The same of a fast placement."""
    return Place(
        placement.framework,
        placement.memory_fraction,
        tuple(
            (
                member.node,
                member.claim.memory_bytes,
                tuple((claim.device_id, claim.memory_bytes) for claim in member.claim.devices),
            )
            for member in placement.members
        ),
    )


class Reference:
    """The feasible placements of one request, with their scores."""

    def __init__(self, snapshot: Snapshot, request: Request) -> None:
        self.snapshot = snapshot
        self.request = request
        self.placements = {
            name: (instance.deployment, instance.placement, instance.state)
            for name, instance in snapshot.instances.items()
            if name != request.name and instance.placement is not None
        }
        self.on_node: dict[str, list[tuple[str, Placement, InstanceState]]] = {}
        for standing in self.placements.values():
            for member in {member.node for member in standing[1].members}:
                self.on_node.setdefault(member, []).append(standing)
        self.offers: dict[str, tuple[Passing, Demand]] = {}
        for name, node in snapshot.nodes.items():
            passing = Passing(node, request.spec, snapshot)
            if examined(passing) is None:
                self.offers[name] = (passing, self._demand(passing))

    def places(self) -> dict[Place, float]:
        """All places of the first strategy that has any, with their scores."""
        for strategy in (
            self.one_device,
            self.several_devices,
            self.several_nodes,
            self.some_layers,
            self.host_memory,
            self.several_hosts,
        ):
            found = list(strategy())
            if found:
                return self.scored(found)
        return {}

    # --- what is left ---

    def left(self, node: Node, device: Device | None) -> int | None:
        """Bytes left of a device, or of the host's memory; None where nobody knows."""
        usage = self.snapshot.usage.get(node.name)
        total = node.host.memory_bytes if device is None else device.memory_bytes
        if not total or not 0 < total < 1 << 53 or usage is None:
            return None
        reserved = node.reserved.memory_bytes if device is None else node.reserved.device_memory_bytes
        if device is None:
            used, own, free = usage.memory_used_bytes, usage.memory_own_bytes, usage.memory_available_bytes
            if used is None and free is not None:
                used = total - free
            if free is None and used is not None:
                free = total - used
        else:
            measured = [each for each in usage.devices if each.device_id == device.device_id]
            used = measured[-1].used_bytes if measured else None
            own = measured[-1].own_bytes if measured else None
            free = None if used is None else total - used
        if used is None or free is None:
            return None
        held = unloaded = 0
        for _, placement, state in self.on_node.get(node.name, ()):
            for member in placement.members:
                if member.node != node.name:
                    continue
                size = sum(
                    claim.memory_bytes
                    for claim in member.claim.devices
                    if (claim.device_id == device.device_id if device else self._unified(node, claim.device_id))
                )
                size += member.claim.memory_bytes if device is None else 0
                held += size
                unloaded += size if state in {InstanceState.SCHEDULED, InstanceState.DOWNLOADING} else 0
        if own is None:
            left = total - reserved - max(held, used + unloaded)
        else:
            left = min(total - reserved - held, free - unloaded - max(held - unloaded - own, 0))
        left = max(left, 0)
        if device is not None and device.memory_kind is MemoryKind.UNIFIED:
            host = self.left(node, None)
            return None if host is None else min(left, host)
        return left

    def groups(self, name: str) -> Iterator[tuple[str, list[tuple[Device, int]]]]:
        """The usable devices of a node that can work together, and what is left of each (A1, A2).

        A partition works alone: it is a group of its own.
        """
        passing, _ = self.offers[name]
        node = passing.node
        allowed = pinned(node, pins_of(self.request.spec, name)) if self.request.spec.devices else node.devices
        groups: dict[tuple[str, bool, str], list[tuple[Device, int]]] = {}
        for device in sorted(allowed, key=lambda device: device.device_id):
            left = self.left(node, device)
            usable = (
                device.framework in passing.versions
                and not device.cordoned
                and device.device_id not in node.cordoned_devices
                and device.health is not Health.UNHEALTHY
                and not any(other.partition_of == device.device_id for other in node.devices)
            )
            if usable and left is not None and left > 0:
                alone = device.device_id if device.partition_of else ""
                kind = (device.framework, device.memory_kind is MemoryKind.UNIFIED, alone)
                groups.setdefault(kind, []).append((device, left))
        for (framework, _, _), devices in groups.items():
            yield framework, devices

    # --- strategies ---

    def one_device(self) -> Iterator[Place]:
        """B6.5, B9.4, B10."""
        for name, demand in self._asking():
            if demand.world not in {None, 1} or demand.ratios or demand.layers_wanted is not None or demand.spans:
                continue
            for framework, devices in self.groups(name):
                for device, left in devices:
                    share = demand.share(framework, device.memory_bytes or 0)
                    claim = floor((device.memory_bytes or 0) * share) if share else demand.need or 0
                    enough = left >= (device.memory_bytes or 0) * share if share else left >= claim
                    if enough and claim >= (demand.need or 0):
                        yield from self._if_memory(name, framework, share, [(device, claim)])

    def several_devices(self) -> Iterator[Place]:
        """B6.6, B7.2, B8.5, B10: as few as possible on each node, and in all where rules say so."""
        found: list[tuple[int, bool, Place]] = []
        for name, demand in self._asking():
            if demand.offload is not None and demand.all_layers:
                found += [(len(place.parts[0][2]), True, place) for place in self._divided(name, demand.offload.layers)]
            if not demand.several or demand.spans:
                continue
            for framework, devices in self.groups(name):
                for share, suitable in self._at_one_fraction(demand, framework, devices):
                    place = self._fewest(name, demand, framework, share, suitable)
                    if place is not None:
                        found.append((len(place.parts[0][2]), demand.fewest, place))
                        break
        least = min((count for count, fewest, _ in found if fewest), default=0)
        yield from (place for count, fewest, place in found if not fewest or count == least)

    def _fewest(
        self, name: str, demand: Demand, framework: str, share: float, suitable: list[tuple[Device, int]]
    ) -> Place | None:
        counts = [demand.world] if demand.world else range(2, len(suitable) + 1)
        for count in counts:
            if count < 2 or demand.fits_node(count):
                continue
            for window in self._windows(demand, share, suitable):
                claims = self._taken(demand, share, window, count, 1)
                if claims is None:
                    continue
                for place in self._if_memory(name, framework, share, claims):
                    return place
                break
        return None

    def several_nodes(self) -> Iterator[Place]:
        """B6.7, B7.2, B8.5 with A4, A10: the most devices on each node that do, then the fewest nodes."""
        yield from self.by_rpc()
        asking = [(name, demand) for name, demand in self._asking() if demand.style and demand.offload is None]
        for backend in sorted({self._terms(name) for name, _ in asking}):
            alike = [(name, demand) for name, demand in asking if self._terms(name) == backend]
            for framework in sorted({kind for name, _ in alike for kind, _ in self.groups(name)}):
                place = self._gang(framework, alike)
                if place is not None:
                    yield place

    def some_layers(self) -> Iterator[Place]:
        """B9.7: the most layers that fit anywhere, on each node with the fewest devices; or as many as asked for."""
        by_layers: dict[int, list[Place]] = {}
        for name, demand in self._asking():
            if demand.offload is None or not demand.some_layers:
                continue
            wanted = demand.layers_wanted
            for layers in [wanted] if wanted else range(demand.offload.layers - 1, 0, -1):
                places = [*self._on_one(name, layers)] or [*self._divided(name, layers)]
                if places:
                    by_layers.setdefault(layers, []).extend(places)
                    break
        yield from by_layers[max(by_layers)] if by_layers else ()

    def by_rpc(self) -> Iterator[Place]:
        """B9.6 with A7, A22: the leader has most left in all; devices with most left serve it, as few as hold most."""
        asking = [(name, demand) for name, demand in self._asking() if demand.style and demand.offload is not None]
        found: list[tuple[int, Place]] = []
        for terms in sorted({self._terms(name) for name, _ in asking}):
            alike = [name for name, _ in asking if self._terms(name) == terms]
            demand = self.offers[alike[0]][1]
            for framework in sorted({kind for name in alike for kind, _ in self.groups(name)}):
                spots = [
                    (left, name, device)
                    for name in alike
                    for kind, devices in self.groups(name)
                    for device, left in devices
                    if kind == framework and device.memory_kind is not MemoryKind.UNIFIED and not device.partition_of
                ]
                found += self._served(framework, demand, spots)
        most = max((layers for layers, _ in found), default=0)
        yield from (place for layers, place in found if layers == most)

    def _served(
        self, framework: str, demand: Demand, every: list[tuple[int, str, Device]]
    ) -> Iterator[tuple[int, Place]]:
        offload, best = demand.offload, None
        assert offload is not None
        spots = [spot for spot in every if spot[0] >= offload.single_layer]
        host = {name: self.left(self.offers[name][0].node, None) or 0 for _, name, _ in spots}
        sums = {name: sum(left for left, of, _ in spots if of == name) for _, name, _ in spots}
        able = [name for name in sums if host[name] >= offload.full.host.total]
        if not able:
            return
        leader = min(able, key=lambda name: (-sums[name], name))
        order = sorted(spots, key=lambda spot: (-spot[0], spot[1], spot[2].device_id))
        own = [spot for spot in order if spot[1] == leader]
        others = [spot for spot in order if spot[1] != leader and host[spot[1]] >= 150 * MIB][:8]
        total = len(demand.ratios) or demand.world
        for count in range(1, len(others) + 1):
            ours = own[: max(min(total or 16, 16) - count, 0)]
            if total and count + len(ours) != total:
                continue
            nodes = list(dict.fromkeys(name for _, name, _ in others[:count]))
            line = sorted(others[:count], key=lambda spot: (nodes.index(spot[1]), spot[2].device_id))
            line += sorted(ours, key=lambda spot: spot[2].device_id)
            for layers in [demand.layers_wanted] if demand.layers_wanted else range(offload.layers, 0, -1):
                split = offload.split(layers, demand.ratios or [left for left, _, _ in line])
                parts = list(zip(line, split.devices, strict=True))
                if split.host.total <= host[leader] and all(part.total <= spot[0] for spot, part in parts):
                    break
            else:
                continue
            allowed = demand.all_layers if layers == offload.layers else demand.some_layers
            serving = all(part.layers for spot, part in parts if spot[1] != leader)
            leading = any(part.layers for spot, part in parts if spot[1] == leader)
            if allowed and serving and leading and (best is None or layers > best[0]):
                claims = {
                    name: tuple(
                        (spot[2].device_id, part.total) for spot, part in parts if spot[1] == name and part.layers
                    )
                    for name in (leader, *nodes)
                }
                memory = {leader: split.host.total}
                held = tuple((name, memory.get(name, 150 * MIB), devices) for name, devices in claims.items())
                best = (layers, Place(framework, None, held))
        if best is not None:
            yield best

    def _on_one(self, name: str, layers: int) -> Iterator[Place]:
        passing, demand = self.offers[name]
        assert demand.offload is not None
        split = demand.offload.split(layers)
        if demand.ratios or demand.world not in {None, 1}:
            return
        for framework, devices in self.groups(name):
            for device, left in devices:
                if left >= split.devices[0].total:
                    yield from self._held(passing.node, framework, split.host.total, [(device, split.devices[0].total)])

    def _divided(self, name: str, layers: int) -> Iterator[Place]:
        """The fewest devices of each kind that hold so many layers, those with most left first."""
        passing, demand = self.offers[name]
        assert demand.offload is not None
        for framework, devices in self.groups(name):
            for count in range(2, len(devices) + 1):
                if count != (len(demand.ratios) or demand.world or count):
                    continue
                most = sorted(devices, key=lambda each: (-each[1], each[0].device_id))[:count]
                most.sort(key=lambda each: each[0].device_id)
                weights = demand.ratios or [left for _, left in most]
                reached = [sum(weights[:number]) for number in range(count + 1)]
                ends = [min(ceil(round(part * layers / sum(weights), 6)), layers) for part in reached]
                counts = [after - before for before, after in itertools.pairwise(ends)]
                split = demand.offload.split(layers, counts)
                claims = [(device, part.total) for (device, _), part in zip(most, split.devices, strict=True)]
                fits = all(part.total <= left for (_, left), part in zip(most, split.devices, strict=True))
                places = list(self._held(passing.node, framework, split.host.total, claims)) if fits else []
                if all(counts) and places:
                    yield from places
                    break

    def _held(self, node: Node, framework: str, memory: int, claims: list[tuple[Device, int]]) -> Iterator[Place]:
        unified = claims[0][0].memory_kind is MemoryKind.UNIFIED
        host = self.left(node, None)
        if host is not None and host >= memory + (sum(size for _, size in claims) if unified else 0):
            yield Place(framework, None, ((node.name, memory, tuple((d.device_id, size) for d, size in claims)),))

    def host_memory(self) -> Iterator[Place]:
        """B9.8, B10."""
        for name, (passing, demand) in self.offers.items():
            if demand.faults or not demand.host_wanted or demand.host is None or "cpu" not in passing.versions:
                continue
            if demand.spans:
                continue
            left = self.left(passing.node, None)
            if passing.profile is not None and passing.profile.cpu and left is not None and left >= demand.host:
                yield Place("cpu", None, ((name, demand.host, ()),))

    def several_hosts(self) -> Iterator[Place]:
        """As many nodes as asked for, each with its part of what is shared and the whole of what is not (A6, A7)."""
        groups: dict[tuple[object, ...], list[tuple[tuple[object, ...], str, int]]] = {}
        for name, (passing, demand) in self.offers.items():
            if demand.faults or not demand.host_wanted or demand.host is None or "cpu" not in passing.versions:
                continue
            if not demand.spans or not demand.style or passing.profile is None or not passing.profile.cpu:
                continue
            assert demand.nodes is not None
            each = ceil((demand.host - demand.host_fixed) / demand.nodes) + demand.host_fixed
            left = self.left(passing.node, None)
            if left is None or left < each or (demand.single and self._has_gang(name)):
                continue
            order = (*self._preference(name, left), name)
            groups.setdefault(self._terms(name), []).append((order, name, each))
        for terms, able in groups.items():
            demand = next(self.offers[name][1] for name in self.offers if self._terms(name) == terms)
            if len(able) >= (demand.nodes or 0):
                chosen = sorted(able)[: demand.nodes]
                yield Place("cpu", None, tuple((name, each, ()) for _, name, each in chosen))

    def _gang(self, framework: str, alike: list[tuple[str, Demand]]) -> Place | None:
        demand = alike[0][1]
        every: dict[str, list[tuple[Device, int]]] = {}
        widths = [0]
        for name, _ in alike:
            if demand.single and self._has_gang(name):
                continue
            node = self.offers[name][0].node
            widths.append(len([each for each in node.devices if each.framework == framework]))
            for kind, devices in self.groups(name):
                first = devices[0][0]
                if kind == framework and first.memory_kind is not MemoryKind.UNIFIED and not first.partition_of:
                    every[name] = [each for each in devices if each[0].network_address or not demand.networked]
        sizes = {device.memory_bytes or 0 for devices in every.values() for device, _ in devices}
        for share, least in self._fractions(demand, framework, sizes):
            suitable = {
                name: [each for each in devices if self._suits(each, share, least)] for name, devices in every.items()
            }
            tensor = demand.tensor or 1
            counts = [count for count in range(max(widths), 0, -1) if not demand.fits_node(count)]
            counts = [count for count in counts if not demand.powers or count in {1, 2, 4, 8, 16}]
            if demand.world is not None:
                counts = [count for count in counts if demand.world % count == 0 and demand.world > count]
            if demand.nodes is not None:
                counts = [c for c in counts if demand.nodes > 1 and demand.world in {None, c * demand.nodes}]
            for count in [each for each in counts if each % tensor == 0] + [each for each in counts if each % tensor]:
                numbers = [demand.world // count] if demand.world else range(2, len(suitable) + 1)
                if demand.nodes is not None:
                    numbers = [demand.nodes]
                for number in numbers:
                    parts = self._members(demand, share, suitable, count, number)
                    if parts is not None:
                        return Place(framework, share or None, tuple(parts))
            if (
                self.request.spec.devices
                and demand.world is not None
                and demand.tensor in {None, 1}
                and demand.nodes is None
            ):
                parts = self._uneven(demand, share, suitable)
                if parts is not None:
                    return Place(framework, share or None, tuple(parts))
        return None

    def _members(
        self, demand: Demand, share: float, suitable: dict[str, list[tuple[Device, int]]], count: int, number: int
    ) -> list[Part] | None:
        able: list[tuple[tuple[object, ...], Part, int]] = []
        for name, devices in suitable.items():
            each = demand.each_of(count * number)
            enough = [(device, left) for device, left in devices if share or left >= each]
            if len(enough) < count:
                continue
            chosen = _most(share, enough)[:count]
            claims = [(device, floor((device.memory_bytes or 0) * share) if share else each) for device, _ in chosen]
            given = sum(claim for _, claim in claims)
            memory = demand.memory_of(given)
            host = self.left(self.offers[name][0].node, None)
            if memory and (host is None or host < memory):
                continue
            order = (-given, *self._preference(name, sum(left for _, left in enough)), name)
            claims.sort(key=lambda claim: claim[0].device_id)
            able.append((order, (name, memory, tuple((device.device_id, size) for device, size in claims)), given))
        able.sort(key=lambda each: each[0])
        chosen_nodes = able[:number]
        if len(chosen_nodes) < max(number, 2) or sum(given for _, _, given in chosen_nodes) < (demand.need or 0):
            return None
        return [part for _, part, _ in chosen_nodes]

    def _uneven(self, demand: Demand, share: float, suitable: dict[str, list[tuple[Device, int]]]) -> list[Part] | None:
        world = demand.world or 0
        each = demand.each_of(world)
        able = {
            name: _most(share, [(device, left) for device, left in devices if share or left >= each])
            for name, devices in suitable.items()
        }
        parts: list[Part] = []
        missing, given = world, 0
        for name in sorted(able, key=lambda name: (-len(able[name]), name)):
            chosen = sorted(able[name][:missing], key=lambda pair: pair[0].device_id)
            claims = [(device, floor((device.memory_bytes or 0) * share) if share else each) for device, _ in chosen]
            memory = demand.memory_of(sum(claim for _, claim in claims))
            host = self.left(self.offers[name][0].node, None)
            if not claims or (memory and (host is None or host < memory)):
                continue
            parts.append((name, memory, tuple((device.device_id, size) for device, size in claims)))
            given += sum(claim for _, claim in claims)
            missing -= len(claims)
        return parts if not missing and len(parts) > 1 and given >= (demand.need or 0) else None

    # --- parts of strategies ---

    def _asking(self) -> Iterator[tuple[str, Demand]]:
        for name, (_, demand) in self.offers.items():
            if not demand.faults and demand.on_devices and demand.need is not None and demand.memory is not None:
                yield name, demand

    def _at_one_fraction(
        self, demand: Demand, framework: str, devices: list[tuple[Device, int]]
    ) -> Iterator[tuple[float, list[tuple[Device, int]]]]:
        sizes = {device.memory_bytes or 0 for device, _ in devices}
        for share, least in self._fractions(demand, framework, sizes):
            yield share, [each for each in devices if self._suits(each, share, least)]

    @staticmethod
    def _fractions(demand: Demand, framework: str, sizes: set[int]) -> list[tuple[float, int]]:
        """Fractions at which devices can work together, each with the least size: the smallest among them decides."""
        by_size = [(demand.share(framework, size), size) for size in sorted(sizes, reverse=True)]
        if len({share for share, _ in by_size}) <= 1:
            return [(share, 0) for share, _ in by_size[:1]]
        return by_size

    @staticmethod
    def _suits(each: tuple[Device, int], share: float, least: int) -> bool:
        total = each[0].memory_bytes or 0
        return not share or (total >= least and each[1] >= total * share)

    @staticmethod
    def _windows(
        demand: Demand, share: float, suitable: list[tuple[Device, int]]
    ) -> Iterator[list[tuple[Device, int]]]:
        if not (demand.similar and share):
            yield suitable
            return
        for anchor in sorted({left for _, left in suitable}, reverse=True):
            window = [each for each in suitable if demand.similar * anchor <= each[1] <= anchor]
            if sum(left for _, left in window) * share >= (demand.need or 0):
                yield window

    @staticmethod
    def _taken(
        demand: Demand, share: float, devices: list[tuple[Device, int]], count: int, nodes: int
    ) -> list[tuple[Device, int]] | None:
        each = demand.each_of(count * nodes)
        enough = [(device, left) for device, left in devices if share or left >= each]
        chosen = _most(share, enough)[:count]
        claims = [(device, floor((device.memory_bytes or 0) * share) if share else each) for device, _ in chosen]
        if len(claims) < count or sum(size for _, size in claims) < (demand.need or 0):
            return None
        return sorted(claims, key=lambda claim: claim[0].device_id)

    def _if_memory(self, name: str, framework: str, share: float, claims: list[tuple[Device, int]]) -> Iterator[Place]:
        passing, demand = self.offers[name]
        claimed = sum(size for _, size in claims)
        memory = demand.memory_of(claimed)
        unified = claims[0][0].memory_kind is MemoryKind.UNIFIED
        host = self.left(passing.node, None)
        wanted = memory + (claimed if unified else 0)
        if wanted and (host is None or host < wanted):
            return
        yield Place(framework, share or None, ((name, memory, tuple((d.device_id, size) for d, size in claims)),))

    def _preference(self, name: str, left: int) -> tuple[int, ...]:
        if self.request.spec.strategy is Strategy.BINPACK:
            return (left,)
        own = self.count(name, "", own=True)
        return own, self.count(name, "") - own

    def _has_gang(self, name: str) -> bool:
        profile = self.offers[name][0].profile
        return any(
            len(placement.members) > 1
            and profile is not None
            and placement.backend == profile.backend
            and name in {member.node for member in placement.members}
            for _, placement, _ in self.on_node.get(name, ())
        )

    # --- scores ---

    def scored(self, places: list[Place]) -> dict[Place, float]:
        """Scores by B13.1 with A19, in thousandths as they are compared."""
        score = self._binpack if self.request.spec.strategy is Strategy.BINPACK else self._spread(places)
        return {place: round(min(max(score(place), 0.0), 100.0) * 1000) / 1000 for place in places}

    def count(self, node: str, device_id: str, *, own: bool = False) -> int:
        """How many instances are on a node or device."""
        return sum(
            any(
                member.node == node
                and (not device_id or device_id in {claim.device_id for claim in member.claim.devices})
                for member in placement.members
            )
            for deployment, placement, _ in self.on_node.get(node, ())
            if not own or deployment == self.request.deployment
        )

    def _spread(self, places: list[Place]):  # type: ignore[no-untyped-def]  # noqa: ANN202  # a closure
        leaders = {place.parts[0][0] for place in places}
        own = {node: self.count(node, "", own=True) for node in leaders}
        others = {node: self.count(node, "") - own[node] for node in leaders}

        def fewer(counts: dict[str, int], node: str) -> float:
            least, most = min(counts.values()), max(counts.values())
            return 1.0 if most <= least else 1 - (counts[node] - least) / (most - least)

        def score(place: Place) -> float:
            node, _, devices = place.parts[0]
            if 0 not in own.values():
                worth = 0.50 + 0.25 * fewer(own, node) + 0.15 * fewer(others, node)
            elif own[node] == 0:
                worth = 0.85 + 0.15 * fewer(others, node)
            else:
                worth = 0.45 + 0.35 * fewer(own, node) + 0.20 * fewer(others, node)
            if not devices:
                return 100 * worth
            quiet = []
            for device_id, _ in devices:
                mine = self.count(node, device_id, own=True)
                quiet.append(1 / (1 + mine + 0.2 * (self.count(node, device_id) - mine)))
            return 100 * (0.85 * worth + 0.15 * (sum(quiet) / len(quiet)))

        return score

    def _binpack(self, place: Place) -> float:
        scores = []
        for name, memory, claims in place.parts:
            node = self.snapshot.nodes[name]
            host = self.left(node, None)
            filled = 100 * memory / host if host else 0.0
            if not claims:
                scores.append(filled)
                continue
            devices = {device.device_id: device for device in node.devices}
            most = max(100 * size / (self.left(node, devices[device_id]) or 1) for device_id, size in claims)
            scores.append((filled + 2 * most) / 3)
        return (5 * scores[0] + sum(scores[1:])) / (5 + len(scores) - 1)

    # --- filters ---

    def _demand(self, passing: Passing) -> Demand:
        profile, reading = passing.profile, passing.reading or Reading()
        assert profile is not None
        needs = needs_of(reading.facts, profile, passing.parameters, passing.spec, self.snapshot.peaks)
        version = next(iter(passing.versions.values()), None)
        return RULES[profile.rules](
            Wish(
                spec=passing.spec,
                facts=reading.facts,
                profile=profile,
                version=version,
                parameters=passing.parameters,
                needs=needs,
            )
        )

    def _terms(self, name: str) -> tuple[object, ...]:
        passing, _ = self.offers[name]
        assert passing.profile is not None
        return (passing.node.profiles[passing.profile.backend], tuple(sorted(passing.versions)))

    @staticmethod
    def _unified(node: Node, device_id: str) -> bool:
        return any(each.device_id == device_id and each.memory_kind is MemoryKind.UNIFIED for each in node.devices)


def _most(share: float, devices: list[tuple[Device, int]]) -> list[tuple[Device, int]]:
    """The largest shares first, then what has most left, then by id."""
    return sorted(
        devices,
        key=lambda each: (
            -floor((each[0].memory_bytes or 0) * share) if share else 0,
            -each[1],
            each[0].device_id,
        ),
    )
