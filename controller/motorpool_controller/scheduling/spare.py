"""What a fleet has that could be used otherwise: fractions at which its devices would just do, and kinds of nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from motorpool_controller.domain.fleet import Device, Node
from motorpool_controller.domain.placement import Placement
from motorpool_controller.scheduling.banks import Bank, Fitness, Numbers, Shape, fitness, size_of
from motorpool_controller.scheduling.demand import Demand
from motorpool_controller.scheduling.selectors.several_nodes import local_counts
from motorpool_controller.scheduling.selectors.supply import Fleet
from motorpool_controller.scheduling.terms import CPU

MOST_SHARING = 16
"""So many instances on the same devices are thought of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Devices of a framework and size, and the node that has most of them; none of them means host memory alone.

    ``total`` is 0 where the node's devices differ in size.
    """

    framework: str
    total: int
    node: Node
    devices: tuple[Device, ...] = ()

    def thinned(self, count: int) -> Node:
        """Return the node with so many of these devices, and no others."""
        return replace(self.node, devices=self.devices[:count])


def kinds_of(fleet: Fleet) -> list[Kind]:
    """Return what kinds of nodes may run the request: those with most and largest devices first."""
    best: dict[tuple[str, int], Kind] = {}
    for number, terms in enumerate(fleet.eligibility.terms):
        if terms.demand.faults:
            continue
        for bank in fleet.banks(terms) if terms.demand.on_devices else ():
            counts = np.add.reduce((bank.free >= 0) & fleet.nodes(number, bank), axis=0, dtype=np.int64)
            if counts.any():
                most = np.flatnonzero(counts == counts.max())
                first = most[np.argmin(fleet.columns.rank[bank.slots[most]])]
                _put(best, _kind(bank, int(first)))
    for _, _, slots in fleet.host_slots():
        nodes = [fleet.columns.seats[fleet.columns.name_at(slot)].node for slot in slots.tolist()]
        for node in (each for each in nodes if each.host.memory_bytes):
            _put(best, Kind(framework=CPU, total=0, node=node))
    return sorted(best.values(), key=lambda kind: (-len(kind.devices), -kind.total, kind.framework, kind.node.name))


def _kind(bank: Bank, column: int) -> Kind:
    seat = bank.seats[column]
    devices = tuple(
        each
        for each in seat.devices[bank.shape]
        if fitness(each, seat.node) in {Fitness.USABLE, Fitness.CORDONED} and size_of(each)
    )
    return Kind(framework=bank.shape.framework, total=bank.shape.total, node=seat.node, devices=devices)


def _put(best: dict[tuple[str, int], Kind], kind: Kind) -> None:
    def worth(each: Kind) -> tuple[int, int, str]:
        return -len(each.devices), -(each.node.host.memory_bytes or 0), each.node.name

    key = (kind.framework, kind.total)
    if key not in best or worth(kind) < worth(best[key]):
        best[key] = kind


def present(fleet: Fleet, kind: Kind, placed: Mapping[str, Placement], nodes: Collection[str]) -> int:
    """Return how many devices of a kind one node has now with as much left as was claimed of each on a new node."""
    claims = [
        claim.memory_bytes
        for placement in placed.values()
        for member in placement.members
        if member.node not in nodes
        for claim in member.claim.devices
    ]
    most = 0
    for number, terms in enumerate(fleet.eligibility.terms):
        for bank in fleet.banks(terms) if claims else ():
            if (bank.shape.framework, bank.shape.total) == (kind.framework, kind.total):
                left = (bank.free >= max(claims)) & fleet.nodes(number, bank)
                most = max(most, int(np.add.reduce(left, axis=0, dtype=np.int64).max(initial=0)))
    return most


def thresholds(fleet: Fleet, option: str, copies: int) -> list[int]:
    """Return the fractions of this option, in thousandths, at which as many devices as could be taken would just do."""
    found: set[int] = set()
    for number, terms in enumerate(fleet.eligibility.terms):
        demand = terms.demand
        if demand.fraction != option or demand.faults or not demand.on_devices or demand.need is None:
            continue
        banks = [bank for bank in fleet.banks(terms) if _takes_shares(demand, bank)]
        ratios = {bank.shape: _ratios(fleet, number, bank) for bank in banks}
        for bank in banks:
            ratio = ratios[bank.shape]
            found.add(_last_of(ratio.ravel(), copies))
            found.update(_last_of(ratio[count - 1], copies) for count in range(1, bank.shape.together + 1))
        for framework in {bank.shape.framework for bank in banks} if demand.style else ():
            alike = [bank for bank in banks if bank.shape.framework == framework and not bank.shape.partitions]
            found.update(_of_nodes(demand, alike, ratios))
    return sorted(found, reverse=True)


def _takes_shares(demand: Demand, bank: Bank) -> bool:
    sizes = {bank.shape.total} if bank.shape.total else set(np.unique(bank.totals).tolist())
    return any(demand.share(bank.shape.framework, size) > 0 for size in sizes if size)


def _ratios(fleet: Fleet, number: int, bank: Bank) -> Numbers:
    """Return what part of each device is left, the most of each node first."""
    known = fleet.known(bank, fleet.nodes(number, bank)) & (bank.totals > 0)
    ratio: Numbers = -np.sort(-np.where(known, bank.free / np.maximum(bank.totals, 1), 0.0), axis=0)
    return ratio


def _last_of(ratios: Numbers, copies: int) -> int:
    """Return the largest fraction that can be taken so often, by several of what there is or of one several times."""
    largest = -np.sort(-ratios)[:copies]
    shared = largest[:, None] / np.arange(1, min(copies, MOST_SHARING) + 1)
    every = -np.sort(-shared.ravel())
    return int(every[copies - 1] * 1000) if len(every) >= copies else 0


def _of_nodes(demand: Demand, banks: list[Bank], ratios: Mapping[Shape, Numbers]) -> Iterator[int]:
    """Yield the fractions that just as many nodes have of so many devices each as hold the need at it."""
    for count in local_counts(demand, max((bank.shape.width for bank in banks), default=0)):
        wide = [bank for bank in banks if bank.shape.width >= count]
        left = np.concatenate([ratios[bank.shape][count - 1] for bank in wide] or [np.zeros(0)])
        sizes = np.concatenate([np.sort(bank.totals, axis=0)[-count:].sum(axis=0) for bank in wide] or [np.zeros(0)])
        order = np.argsort(-left, kind="stable")
        left, given = left[order], np.cumsum(sizes[order]) * left[order]
        if demand.world is not None:
            enough = [demand.world // count - 1]
        else:
            enough = [max(int(place), 1) for place in np.flatnonzero(given >= (demand.need or 0))[:1]]
        yield from (int(left[place] * 1000) for place in enough if place < len(left))
