"""Layers of a GGUF model on devices of several nodes, reached by RPC (B9.6, A7, A22).

One node leads, and runs the engine on its devices; of the other nodes the devices with most left serve it. How many of
them are looked at is bounded: more servers than ``MOST_SERVERS`` are never taken, and a device with less left is never
taken before one with more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from motorpool_controller.domain.placement import Claim, DeviceClaim, Placement
from motorpool_controller.estimation.offload import RUNTIME_BYTES, Offload, Split
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.demand import Demand
from motorpool_controller.scheduling.selectors.layers import MOST_DEVICES
from motorpool_controller.scheduling.selectors.several_nodes import Gang
from motorpool_controller.scheduling.selectors.supply import Fleet, Supply
from motorpool_controller.scheduling.terms import Terms

MOST_SERVERS = 8
"""Devices of other nodes that one instance uses at the most (B9.6)."""

SERVER_BYTES = RUNTIME_BYTES
"""Host memory of a node that serves devices: the engine's library, as on the leader."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A device: what is left of it, and where it is."""

    free: int
    supply: Supply
    column: int
    row: int

    @property
    def node(self) -> str:
        """Return the full name of its node."""
        return self.supply.bank.seats[self.column].node.name

    @property
    def device_id(self) -> str:
        """Return its id."""
        return self.supply.bank.seats[self.column].devices[self.supply.bank.shape][self.row].device_id


@dataclass(frozen=True, slots=True, eq=False)
class RpcGang(Gang):
    """A placement of ``layers`` on devices of several nodes, the servers before the leader's own as the engine has it.

    ``claims`` are by part, the leader first, with the layers of each device.
    """

    layers: int
    memory: int
    claims: tuple[tuple[tuple[DeviceClaim, int], ...], ...]

    def placement(self, score: float = 0.0) -> Placement:
        """Return the placement."""
        claims = tuple(
            (
                supply.bank.seats[column].node.name,
                Claim(memory_bytes=SERVER_BYTES if number else self.memory, devices=tuple(each for each, _ in held)),
            )
            for number, ((supply, column, _), held) in enumerate(zip(self.parts, self.claims, strict=True))
        )
        placement = self.terms.placement(self.framework, claims, score=score)
        servers_first = (*self.claims[1:], self.claims[0])
        split = tuple(float(layers) for held in servers_first for _, layers in held)
        return replace(placement, offloaded_layers=self.layers, tensor_split=split)


def by_rpc(fleet: Fleet) -> list[RpcGang]:
    """Return for each of the terms and each framework the placement with most layers on devices of several nodes."""
    found = []
    for terms in fleet.eligibility.terms:
        demand, offload = terms.demand, terms.demand.offload
        if demand.faults or not demand.style or offload is None or not demand.on_devices:
            continue
        gangs = (_best(fleet.columns, terms, offload, alike) for alike in _alike(fleet, terms, offload))
        found += [gang for gang in gangs if gang is not None]
    most = max((gang.layers for gang in found), default=0)
    return [gang for gang in found if gang.layers == most]


def most_by_rpc(fleet: Fleet, terms: Terms) -> tuple[int, list[str]]:
    """Return the most that a node and the devices that could serve it have left, and which node that is."""
    best: tuple[int, list[str]] = (0, [])
    offload = terms.demand.offload
    for alike in () if offload is None else _alike(fleet, terms, offload):
        leader = _leader(fleet.columns, alike, 0)
        if leader is not None:
            own, servers = _devices(*leader), _servers(fleet.columns, alike, leader)
            best = max(best, (sum(spot.free for spot in (*own, *servers)), [own[0].node]))
    return best


def _alike(fleet: Fleet, terms: Terms, offload: Offload) -> Iterator[list[Supply]]:
    """Yield the devices of each framework that hold a layer."""
    able = [
        replace(supply, enough=supply.enough & (supply.bank.free >= offload.single_layer))
        for supply in fleet.supplies()
        if supply.terms is terms and not supply.bank.shape.unified and not supply.bank.shape.partitions
    ]
    for framework in sorted({supply.bank.shape.framework for supply in able}):
        yield [supply for supply in able if supply.bank.shape.framework == framework]


def _best(columns: Columns, terms: Terms, offload: Offload, supplies: Sequence[Supply]) -> RpcGang | None:
    leader = _leader(columns, supplies, offload.full.host.total)
    if leader is None:
        return None
    demand, own = terms.demand, _devices(*leader)
    host = int(columns.host[leader[0].bank.slots[leader[1]]])
    servers = _servers(columns, supplies, leader)
    best: RpcGang | None = None
    for count in range(1, len(servers) + 1):
        ours = sorted(own[: _own_most(demand, count)], key=lambda spot: spot.row)
        if not _as_many(demand, count + len(ours)):
            continue
        spots = [*_by_node(servers[:count]), *ours]
        layers = _layers(demand, offload, spots, host, above=0 if best is None else best.layers)
        if layers:
            split = offload.split(layers, demand.ratios or [spot.free for spot in spots])
            best = _gang(terms, layers, split, spots, count)
            if layers == offload.layers or demand.layers_wanted is not None:
                return best
    return best


def _leader(columns: Columns, supplies: Sequence[Supply], memory: int) -> tuple[Supply, int] | None:
    """Return the node with the most left on devices that hold a layer, of those with the host memory to lead."""
    best: tuple[int, int, Supply, int] | None = None
    for supply in supplies:
        slots = supply.bank.slots
        roomy = supply.nodes & supply.enough.any(axis=0) & (columns.host[slots] >= memory)
        if not roomy.any():
            continue
        sums = np.where(roomy, np.where(supply.enough, supply.bank.free, 0).sum(axis=0), -1)
        most = np.flatnonzero(sums == sums.max())
        column = int(most[np.argmin(columns.rank[slots[most]])])
        key = (-int(sums[column]), int(columns.rank[slots[column]]))
        if best is None or key < best[:2]:
            best = (*key, supply, column)
    return None if best is None else best[2:]


def _devices(supply: Supply, column: int) -> list[Spot]:
    """Return a node's devices that hold a layer, those with most left first."""
    rows = np.flatnonzero(supply.enough[:, column])
    spots = [Spot(int(supply.bank.free[row, column]), supply, column, int(row)) for row in rows]
    return sorted(spots, key=lambda spot: (-spot.free, spot.row))


def _servers(columns: Columns, supplies: Sequence[Supply], leader: tuple[Supply, int]) -> list[Spot]:
    """Return the devices of other nodes with most left, where the node has the memory to serve them."""
    found: list[tuple[int, int, int, Spot]] = []
    for supply in supplies:
        slots = supply.bank.slots
        nodes = supply.nodes & (columns.host[slots] >= SERVER_BYTES)
        if supply is leader[0]:
            nodes[leader[1]] = False
        free = np.where(supply.enough & nodes, supply.bank.free, 0)
        if free.size > MOST_SERVERS:  # what is less than the last of the first is none of them
            free = np.where(free >= np.partition(free, -MOST_SERVERS, axis=None)[-MOST_SERVERS], free, 0)
        rows, at = np.nonzero(free)
        for row, column in zip(rows.tolist(), at.tolist(), strict=True):
            spot = Spot(int(free[row, column]), supply, column, row)
            found.append((-spot.free, int(columns.rank[slots[column]]), row, spot))
    return [spot for *_, spot in sorted(found, key=lambda each: each[:3])[:MOST_SERVERS]]


def _by_node(servers: Sequence[Spot]) -> list[Spot]:
    """Return the servers as the engine is told of them: a node's together, that with most left on a device first."""
    first = {spot.node: number for number, spot in reversed(list(enumerate(servers)))}
    return sorted(servers, key=lambda spot: (first[spot.node], spot.row))


def _own_most(demand: Demand, servers: int) -> int:
    """Return how many of its own devices the leader uses beside so many servers."""
    wanted = len(demand.ratios) or demand.world or MOST_DEVICES
    return max(min(wanted, MOST_DEVICES) - servers, 0)


def _as_many(demand: Demand, count: int) -> bool:
    return count == (len(demand.ratios) or demand.world or count)


def _layers(demand: Demand, offload: Offload, spots: Sequence[Spot], host: int, *, above: int) -> int:
    """Return the most layers, more than ``above``, that fit as they are wanted; 0 where none do."""
    free, ratios = [spot.free for spot in spots], demand.ratios or None
    wanted = demand.layers_wanted
    if wanted is not None:
        split = offload.split(wanted, ratios or free)
        fits = split.host.total <= host and all(part.total <= of for part, of in zip(split.devices, free, strict=True))
        return wanted if fits and _serving(split, spots) else 0
    layers = offload.most_layers(free, host, ratios) or 0
    if layers == offload.layers and not demand.all_layers:
        return 0
    if layers < offload.layers and not demand.some_layers:
        return 0
    serving = layers > above and _serving(offload.split(layers, ratios or free), spots)
    return layers if serving else 0


def _serving(split: Split, spots: Sequence[Spot]) -> bool:
    """Return whether every server has a layer, and so has the leader: fewer servers would do otherwise."""
    leader = spots[-1].node
    ours = [part.layers for part, spot in zip(split.devices, spots, strict=True) if spot.node == leader]
    theirs = [part.layers for part, spot in zip(split.devices, spots, strict=True) if spot.node != leader]
    return all(theirs) and any(ours)


def _gang(terms: Terms, layers: int, split: Split, spots: Sequence[Spot], servers: int) -> RpcGang:
    """Return the placement; devices that got no layer are left out, a node's devices stand together."""
    held: dict[str, list[tuple[Spot, int, int]]] = {}
    order = [*range(servers, len(spots)), *range(servers)]  # the leader is the first part
    for number in order:
        spot, part = spots[number], split.devices[number]
        if part.layers:
            held.setdefault(spot.node, []).append((spot, part.total, part.layers))
    parts, claims = [], []
    for devices in held.values():
        first = devices[0][0]
        parts.append((first.supply, first.column, tuple(sorted(spot.row for spot, _, _ in devices))))
        claims.append(tuple((DeviceClaim(spot.device_id, total), layers) for spot, total, layers in devices))
    return RpcGang(
        terms=terms,
        framework=spots[0].supply.bank.shape.framework,
        fraction=0.0,
        parts=tuple(parts),
        each=0,
        layers=layers,
        memory=split.host.total,
        claims=tuple(claims),
    )
