"""One device (B6.5, B9.4, B10), and several devices of one node (B6.6, B7.2, B10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from motorpool_controller.scheduling.banks import Mask, Shape
from motorpool_controller.scheduling.selectors.batches import Batch
from motorpool_controller.scheduling.selectors.supply import Fleet, Supply


def on_one_device(fleet: Fleet, supplies: Iterable[Supply]) -> list[Batch]:
    """Return the placements on a single device: it holds the whole need, and every node has the host memory for it."""
    batches = []
    for supply in supplies:
        demand, bank = supply.demand, supply.bank
        need = demand.need or 0
        if demand.world not in {None, 1} or demand.ratios or demand.layers_wanted is not None:
            continue
        enough = supply.enough
        if not supply.fraction:
            enough = supply.having(need)
        elif supply.each:
            if need > supply.each:
                continue
        else:
            # Of devices of different sizes, each takes its own fraction: smaller ones have a supply of their own.
            enough = enough & (supply.shares >= need)
            if supply.floor:
                enough &= bank.totals == supply.floor
        claimed = need if not supply.fraction else supply.each
        nodes = enough.any(axis=0) & supply.nodes
        if supply.fraction and not supply.each:
            enough = enough & _with_memory(fleet, supply)
            nodes = enough.any(axis=0) & supply.nodes
        else:
            memory = demand.memory_of(claimed) + (claimed if bank.shape.unified else 0)
            nodes = fleet.has_memory(bank, memory, nodes)
        if nodes.any():
            batches.append(Batch(supply, nodes, enough, 1))
    return batches


def on_several_devices(fleet: Fleet, supplies: Iterable[Supply]) -> list[Batch]:
    """Return the placements on several devices of a node; of all, those with the fewest devices, where rules say so.

    A node's like devices have one placement: at the largest of the fractions at which they have any.
    """
    taken: dict[Shape, Mask] = {}
    batches: list[Batch] = []
    for supply in supplies:
        placed = taken.setdefault(supply.bank.shape, np.zeros(supply.bank.size, np.bool_))
        batches += _batches(fleet, supply, placed)
    fewest = min((batch.count for batch in batches if batch.supply.demand.fewest), default=0)
    return [batch for batch in batches if not batch.supply.demand.fewest or batch.count == fewest]


def counts_of(supply: Supply) -> list[int]:
    """Return how many devices of a node may be taken together, fewest first."""
    demand, width = supply.demand, supply.bank.shape.together
    if not demand.several:
        return []
    wanted = range(2, width + 1) if demand.world is None else [demand.world]
    return [count for count in wanted if 2 <= count <= width and not demand.fits_node(count)]


def _batches(fleet: Fleet, supply: Supply, taken: Mask) -> Iterator[Batch]:
    """Yield the placements on nodes that are not ``taken`` yet, and note there that they are."""
    for count in counts_of(supply):
        enough, nodes = _feasible(supply, count)
        nodes = nodes & supply.nodes & ~taken
        if nodes.any():
            batch = Batch(supply, nodes, enough, count)
            nodes = nodes & _memory(fleet, batch)
            if nodes.any():
                taken |= nodes
                yield Batch(supply, nodes, enough, count)


def _feasible(supply: Supply, count: int) -> tuple[Mask, Mask]:
    """Return which devices may be among so many, and on which nodes these hold the need."""
    demand = supply.demand
    need = demand.need or 0
    if not supply.fraction:
        enough = supply.having(demand.each_of(count))
        return enough, np.add.reduce(enough, axis=0, dtype=np.int64) >= count
    if demand.similar:
        return _similar(supply, count)
    enough = supply.enough
    nodes = np.add.reduce(enough, axis=0, dtype=np.int64) >= count
    if supply.each:
        return enough, nodes & (count * supply.each >= need)
    shares = -np.sort(-np.where(enough, supply.shares, 0), axis=0)
    return enough, nodes & (shares[:count].sum(axis=0) >= need)


def _similar(supply: Supply, count: int) -> tuple[Mask, Mask]:
    """Return the same where devices that work together have similar amounts left (B2.3, B7.2).

    Of the devices whose free memory is at least ``similar`` of some device's, and no more than that device's, the sum
    of what is free has to hold the need at the fraction. The device with the most left comes first.
    """
    demand, free = supply.demand, np.where(supply.enough, supply.bank.free, -1)
    need = demand.need or 0
    most = np.full(supply.bank.size, -1, np.int64)
    for anchor in -np.sort(-free, axis=0):
        window = supply.enough & (free <= anchor) & (free >= demand.similar * anchor) & (anchor > 0)
        holds = np.add.reduce(window, axis=0, dtype=np.int64) >= count
        holds &= np.where(window, free, 0).sum(axis=0) * supply.fraction >= need
        shares = -np.sort(-np.where(window, supply.shares, 0), axis=0)
        holds &= shares[:count].sum(axis=0) >= need
        most = np.where((most < 0) & holds, anchor, most)
    enough = supply.enough & (free <= most) & (free >= demand.similar * most)
    return enough, most > 0


def _with_memory(fleet: Fleet, supply: Supply) -> Mask:
    """Return on which devices the claim leaves their node the host memory that goes with it."""
    demand = supply.demand
    claimed = supply.shares
    memory = (demand.memory or 0) + (claimed * demand.memory_ratio).astype(np.int64)
    if supply.bank.shape.unified:
        memory = memory + claimed
    return (memory <= 0) | (fleet.columns.host[supply.bank.slots] >= memory)


def _memory(fleet: Fleet, batch: Batch) -> Mask:
    """Return which nodes have the host memory that goes with a placement on several of their devices."""
    supply, demand = batch.supply, batch.supply.demand
    if not demand.memory and not demand.memory_ratio and not supply.bank.shape.unified:
        return batch.nodes
    if supply.each or not supply.fraction:
        claimed = batch.count * (supply.each or demand.each_of(batch.count))
        memory = demand.memory_of(claimed) + (claimed if supply.bank.shape.unified else 0)
        return fleet.has_memory(supply.bank, memory, batch.nodes)
    chosen = np.take_along_axis(supply.shares, batch.order[: batch.count], axis=0).sum(axis=0)
    sums = (demand.memory or 0) + (chosen * demand.memory_ratio).astype(np.int64)
    if supply.bank.shape.unified:
        sums = sums + chosen
    enough: Mask = batch.nodes & ((sums <= 0) | (fleet.columns.host[supply.bank.slots] >= sums))
    return enough
