"""Several nodes: as many devices on each, tensor groups within a node where they can be (B6.7, B7.2, B8.5, A4, A10)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from motorpool_controller.domain.placement import Claim, DeviceClaim, Placement
from motorpool_controller.domain.workload import Strategy
from motorpool_controller.scheduling.banks import Bank, Mask, Shape
from motorpool_controller.scheduling.columns import Codes
from motorpool_controller.scheduling.demand import Demand
from motorpool_controller.scheduling.selectors.batches import Batch
from motorpool_controller.scheduling.selectors.supply import Fleet, Supply, fractions, sizes_of
from motorpool_controller.scheduling.terms import Terms

MOST_TRIES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Gang:
    """A placement on several nodes: a column of a supply for each, the leader first, and the devices that it takes."""

    terms: Terms
    framework: str
    fraction: float
    parts: tuple[tuple[Supply, int, tuple[int, ...]], ...]
    each: int

    @property
    def slots(self) -> Codes:
        """Slots of the nodes."""
        return np.array([supply.bank.slots[column] for supply, column, _ in self.parts])

    def placement(self, score: float = 0.0) -> Placement:
        """Return the placement."""
        claims = []
        for supply, column, rows in self.parts:
            seat = supply.bank.seats[column]
            devices = seat.devices[supply.bank.shape]
            batch = Batch(supply, supply.nodes, supply.enough, len(rows))
            parts = tuple(
                DeviceClaim(devices[row].device_id, batch.claim_on(row, column) if self.fraction else self.each)
                for row in rows
            )
            memory = supply.demand.memory_of(sum(part.memory_bytes for part in parts))
            claims.append((seat.node.name, Claim(memory_bytes=memory, devices=parts)))
        return self.terms.placement(self.framework, tuple(claims), fraction=self.fraction or None, score=score)


@dataclass(slots=True, eq=False)
class _Pool:
    """Nodes that can give as many devices each: best first, with what they give together."""

    supplies: list[Supply]
    numbers: list[int]
    columns: list[int]
    shares: list[int]


def on_several_nodes(fleet: Fleet) -> list[Gang]:
    """Return for each of the terms and each framework the best placement on several nodes, if there is one."""
    gangs = []
    for number, terms in enumerate(fleet.eligibility.terms):
        demand = terms.demand
        if demand.faults or not demand.on_devices or not demand.style or demand.need is None or demand.memory is None:
            continue
        if demand.offload is not None:  # layers are divided otherwise: ``rpc``
            continue
        banks = list(fleet.banks(terms))
        for framework in sorted({bank.shape.framework for bank in banks}):
            alike = [bank for bank in banks if bank.shape.framework == framework and _spans(bank)]
            gang = _gang(fleet, number, terms, alike)
            if gang is not None:
                gangs.append(gang)
    return gangs


def local_counts(demand: Demand, widest: int) -> list[int]:
    """Return how many devices each node may give: whole tensor groups before parts of them, many before few."""
    if demand.nodes == 1:
        return []
    counts = [
        count
        for count in range(widest, 0, -1)
        if (demand.world is None or (demand.world % count == 0 and demand.world > count))
        and not (demand.powers and count & (count - 1))
        and not demand.fits_node(count)
        and (demand.nodes is None or demand.world is None or demand.world == count * demand.nodes)
    ]
    tensor = demand.tensor or 1
    return sorted(counts, key=lambda count: (count % tensor != 0, -count))


def _gang(fleet: Fleet, number: int, terms: Terms, banks: Sequence[Bank]) -> Gang | None:
    if not banks:
        return None
    demand = terms.demand
    widest = max(bank.shape.width for bank in banks)
    for fraction, supplies in _supplies(fleet, number, terms, banks):
        for count in local_counts(demand, widest) if supplies else ():
            gang = _of_count(fleet, terms, supplies, fraction, count)
            if gang is not None:
                return gang
        uneven = demand.tensor in {None, 1} and demand.nodes is None
        if supplies and fleet.pinned and demand.world is not None and uneven:
            gang = _uneven(fleet, terms, supplies, fraction, demand.world)
            if gang is not None:
                return gang
    return None


def _supplies(fleet: Fleet, number: int, terms: Terms, banks: Sequence[Bank]) -> Iterator[tuple[float, list[Supply]]]:
    """Yield the fractions at which nodes can work together, each with what the banks of their framework have."""
    demand = terms.demand
    nodes: dict[Shape, Mask] = {}
    sizes: set[int] = set()
    for bank in banks:
        mask = fleet.nodes(number, bank)
        nodes[bank.shape] = mask & ~busy_nodes(fleet, terms, bank) if demand.single else mask
        known = fleet.known(bank, nodes[bank.shape])
        sizes |= sizes_of(bank, known & bank.networked if demand.networked else known)
    for floor, fraction in fractions(demand, banks[0].shape.framework, sizes):
        supplies = []
        for bank in banks:
            if nodes[bank.shape].any() and (not bank.shape.total or bank.shape.total >= floor):
                supply = fleet.supply(terms, bank, nodes[bank.shape], floor, fraction)
                if demand.networked:
                    np.logical_and(supply.enough, bank.networked, out=supply.enough)
                supplies.append(supply)
        yield fraction, supplies


def _spans(bank: Bank) -> bool:
    """Return whether its devices can work together with those of other nodes: partitions work alone (A2)."""
    return not bank.shape.unified and not bank.shape.partitions


def busy_nodes(fleet: Fleet, terms: Terms, bank: Bank) -> Mask:
    """Return which nodes have an instance of the backend that spans nodes; it may be the only one there (A15)."""
    taken = [
        fleet.columns.seats[name].columns.get(bank.shape, -1)
        for name in fleet.columns.ledger.gang_nodes(terms.profile.backend)
        if name in fleet.columns.seats
    ]
    mask = np.zeros(bank.size, np.bool_)
    mask[[column for column in taken if column >= 0]] = True
    return mask


def _of_count(fleet: Fleet, terms: Terms, supplies: Sequence[Supply], fraction: float, count: int) -> Gang | None:
    demand = terms.demand
    need = demand.need or 0
    if demand.world is not None:
        sizes = [demand.world // count]
    elif demand.nodes is not None:
        sizes = [demand.nodes]
    else:
        sizes = [0] if fraction else _sizes(supplies, demand, count)
    for size in sizes:
        each = 0 if fraction else demand.each_of(count * size)
        pool = _pool(fleet, supplies, count, each)
        if len(pool.columns) < max(size, 2):
            continue
        chosen = _enough(pool.shares, need, size) if fraction else size
        if chosen:
            parts = tuple(
                (supply, column, tuple(Batch(supply, supply.nodes, supply.enough, count).rows(column)))
                for supply, column in _first(pool, supplies, chosen, each)
            )
            return Gang(terms, supplies[0].bank.shape.framework, fraction, parts, each)
    return None


def _sizes(supplies: Sequence[Supply], demand: Demand, count: int) -> list[int]:
    """Return numbers of nodes that may do where each device takes its part of the need, fewest first."""
    ends = [
        -np.sort(-np.where(supply.enough, supply.bank.free, 0), axis=0)[count - 1][supply.nodes]
        for supply in supplies
        if supply.bank.shape.width >= count
    ]
    if not ends:
        return []
    least = -np.sort(-np.concatenate(ends))
    numbers = np.arange(1, len(least) + 1)
    parts = -(-(demand.need or 0) // (count * numbers))
    holds = np.flatnonzero((least >= parts) & (numbers >= 2))
    return [int(numbers[place]) for place in holds[:MOST_TRIES]]


def _first(pool: _Pool, supplies: Sequence[Supply], wanted: int, each: int) -> Iterator[tuple[Supply, int]]:
    narrowed: dict[int, Supply] = {}
    for number, column in list(zip(pool.numbers, pool.columns, strict=True))[:wanted]:
        supply = supplies[number]
        if each:
            if number not in narrowed:
                narrowed[number] = _having(supply, each)
            supply = narrowed[number]
        yield supply, column


def _having(supply: Supply, size_bytes: int) -> Supply:
    enough = supply.enough & (supply.bank.free >= size_bytes)
    return Supply(
        terms=supply.terms,
        bank=supply.bank,
        nodes=supply.nodes,
        fraction=supply.fraction,
        enough=enough,
        each=supply.each,
        pins=supply.pins,
    )


def _pool(fleet: Fleet, supplies: Sequence[Supply], count: int, each: int) -> _Pool:
    """Return the nodes that can give ``count`` devices, in the order in which they are taken.

    The largest first, so that few are enough; then where least of the deployment and of others is (spread), or where
    least is left (binpack); then by name (A20).
    """
    columns, numbers, shares, slots, left = [], [], [], [], []
    for number, whole in enumerate(supplies):
        supply = _having(whole, each) if each else whole
        nodes = supply.nodes & (np.add.reduce(supply.enough, axis=0, dtype=np.int64) >= count)
        if not nodes.any():
            continue
        demand, bank = supply.demand, supply.bank
        if not supply.fraction:
            given = np.full(bank.size, count * each, np.int64)
        elif supply.each:
            given = np.full(bank.size, count * supply.each, np.int64)
        else:
            order = Batch(supply, nodes, supply.enough, count).order[:count]
            given = np.take_along_axis(np.where(supply.enough, supply.shares, 0), order, axis=0).sum(axis=0)
        if demand.memory or demand.memory_ratio:
            memory = (demand.memory or 0) + (given * demand.memory_ratio).astype(np.int64)
            nodes = nodes & ((memory <= 0) | (fleet.columns.host[bank.slots] >= memory))
        here = np.flatnonzero(nodes)
        columns.append(here)
        numbers.append(np.full(len(here), number))
        shares.append(given[here])
        slots.append(bank.slots[here])
        left.append(np.where(supply.enough, bank.free, 0).sum(axis=0)[here])
    if not columns:
        return _Pool([], [], [], [])
    slot = np.concatenate(slots)
    order = _ordered(fleet, np.concatenate(shares), slot, np.concatenate(left))
    return _Pool(
        list(supplies),
        np.concatenate(numbers)[order].tolist(),
        np.concatenate(columns)[order].tolist(),
        np.concatenate(shares)[order].tolist(),
    )


def _ordered(fleet: Fleet, shares: np.ndarray, slots: np.ndarray, left: np.ndarray) -> np.ndarray:
    rank = fleet.columns.rank[slots]
    if fleet.request.spec.strategy is Strategy.BINPACK:
        return np.lexsort((rank, left, -shares))
    own = fleet.columns.tally(fleet.request.deployment).nodes[slots]
    return np.lexsort((rank, fleet.columns.busy[slots] - own, own, -shares))


def _enough(shares: Sequence[int], need: int, size: int) -> int:
    """Return how many of the nodes, largest first, hold the need; exactly ``size`` if it is given, 0 if none do."""
    if size:
        return size if sum(shares[:size]) >= need else 0
    total = 0
    for number, share in enumerate(shares, 1):
        total += share
        if total >= need and number > 1:
            return number
    return 0


def _uneven(fleet: Fleet, terms: Terms, supplies: Sequence[Supply], fraction: float, world: int) -> Gang | None:
    """Return a placement on pinned devices that nodes have different numbers of (B5.4-5): all in one pipeline."""
    demand = terms.demand
    each = 0 if fraction else demand.each_of(world)
    parts: list[tuple[Supply, int, tuple[int, ...]]] = []
    nodes: list[tuple[int, str, Supply, int]] = []
    for whole in supplies:
        supply = _having(whole, each) if each else whole
        counts = np.where(supply.nodes, np.add.reduce(supply.enough, axis=0, dtype=np.int64), 0)
        nodes += [
            (-int(counts[column]), supply.bank.seats[column].node.name, supply, int(column))
            for column in np.flatnonzero(counts)
        ]
    missing, given = world, 0
    for negative, _, supply, column in sorted(nodes, key=lambda node: node[:2]):
        count = min(-negative, missing)
        batch = Batch(supply, supply.nodes, supply.enough, count)
        rows = tuple(batch.rows(column)) if count else ()
        claimed = sum(batch.claim_on(row, column) if fraction else each for row in rows)
        memory = demand.memory_of(claimed)
        if not count or (memory and fleet.columns.host[supply.bank.slots[column]] < memory):
            continue
        parts.append((supply, column, rows))
        given += claimed
        missing -= count
    if missing or len(parts) < 2 or given < (demand.need or 0):
        return None
    return Gang(terms, supplies[0].bank.shape.framework, fraction, tuple(parts), each)


def best_combination(fleet: Fleet, number: int, terms: Terms) -> tuple[list[str], int | None, int] | None:
    """Return the nodes that come closest, what they give together, and with how many devices each; None without two.

    What they give is None where devices take their part of the need, whatever it is.
    """
    demand = terms.demand
    best: tuple[list[str], int | None, int] | None = None
    every = [bank for bank in fleet.banks(terms) if _spans(bank)]
    for framework in sorted({bank.shape.framework for bank in every}):
        banks = [bank for bank in every if bank.shape.framework == framework]
        for fraction, supplies in _supplies(fleet, number, terms, banks):
            for count in local_counts(demand, max(bank.shape.width for bank in banks)):
                pool = _pool(fleet, supplies, count, 0 if fraction else 1)
                wanted = len(pool.columns) if demand.world is None else demand.world // count
                given = sum(pool.shares[:wanted]) if fraction else None
                if best is None or (given or 0) > (best[1] or 0):
                    chosen = list(zip(pool.numbers, pool.columns, strict=True))[:wanted]
                    names = [supplies[at].bank.seats[column].node.name for at, column in chosen]
                    best = (names, given, count)
    return best
