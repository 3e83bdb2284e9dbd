"""What the fleet has for a request: the devices of each bank, and which of them have enough left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from motorpool_controller.scheduling.banks import Bank, Bytes, Mask, Shape
from motorpool_controller.scheduling.columns import Codes, Columns
from motorpool_controller.scheduling.demand import Demand
from motorpool_controller.scheduling.eligibility import Eligibility
from motorpool_controller.scheduling.filters import pinned, pins_of
from motorpool_controller.scheduling.snapshot import Request
from motorpool_controller.scheduling.terms import CPU, Terms

FEW = 2
"""Where so many times the nodes that may run a request are no more than there are, those are looked at alone."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Supply:
    """A bank's devices at one fraction: ``enough`` tells which may be taken, ``nodes`` which nodes run the request.

    Where a fraction is taken, ``each`` is what every device gives; 0 where they differ in size, and then ``shares`` has
    it. ``floor`` is the size whose fraction it is where fractions differ with size, and smaller devices are left out.
    """

    terms: Terms
    bank: Bank
    nodes: Mask
    fraction: float
    enough: Mask
    each: int = 0
    floor: int = 0
    pins: Mask | None = None

    @property
    def demand(self) -> Demand:
        """Return what the terms ask for."""
        return self.terms.demand

    @property
    def shares(self) -> Bytes:
        """Return what each device gives where a fraction is taken."""
        return (self.bank.totals * self.fraction).astype(np.int64)

    def having(self, size_bytes: int) -> Mask:
        """Return which devices have so many bytes left."""
        enough = self.bank.free >= max(size_bytes, 1)
        if self.pins is not None:
            enough &= self.pins
        return enough


@dataclass(slots=True, eq=False)
class Fleet:
    """What a search looks at: the columns, and who may run the request on which terms."""

    columns: Columns
    request: Request
    eligibility: Eligibility
    file_nodes: frozenset[str] = frozenset()
    _pins: dict[Shape, Mask] = field(default_factory=dict)
    _parts: dict[Shape, Bank] = field(default_factory=dict)

    def look_anew(self) -> None:
        """Forget what nodes had left."""
        self._parts.clear()

    @property
    def pinned(self) -> bool:
        """Whether the user chose the devices."""
        return bool(self.request.spec.devices)

    def banks(self, terms: Terms, *, usable: bool = True) -> Iterator[Bank]:
        """Yield the banks of devices that a version supports, of nodes that may run the request for the most."""
        for shape, bank in self.columns.banks.items():
            if bank.size and (shape.usable or not usable) and shape.framework in terms.versions:
                part = self._part(bank)
                if part.size:
                    yield part

    def _part(self, bank: Bank) -> Bank:
        if self.pinned:
            return bank
        if bank.shape not in self._parts:
            here = np.flatnonzero(self.eligibility.index[bank.slots] >= 0)
            self._parts[bank.shape] = bank if FEW * len(here) > bank.size else bank.part(here)
        return self._parts[bank.shape]

    def nodes(self, number: int, bank: Bank) -> Mask:
        """Return which columns of a bank are nodes that have the terms of this number."""
        mask: Mask = self.eligibility.index[bank.slots] == number
        return mask

    def supplies(self) -> Iterator[Supply]:
        """Yield the devices of each bank for each of the terms, where a device may be used at all."""
        for number, terms in enumerate(self.eligibility.terms):
            demand = terms.demand
            if demand.faults or not demand.on_devices or demand.need is None or demand.memory is None:
                continue
            for bank in self.banks(terms):
                nodes = self.nodes(number, bank)
                if not nodes.any():
                    continue
                total = bank.shape.total
                if total:
                    yield self.supply(terms, bank, nodes, 0, demand.share(bank.shape.framework, total))
                    continue
                known = self.known(bank, nodes)
                for floor, fraction in fractions(demand, bank.shape.framework, sizes_of(bank, known)):
                    having = (known & (bank.totals == floor)).any(axis=0) if floor else nodes
                    yield self.supply(terms, bank, having, floor, fraction)

    def known(self, bank: Bank, nodes: Mask) -> Mask:
        """Return which devices of these nodes may be used, and have anything left."""
        known = (bank.free > 0) & nodes
        return known & self.pins(bank) if self.pinned else known

    def supply(self, terms: Terms, bank: Bank, nodes: Mask, floor: int, fraction: float) -> Supply:
        """Return a bank's devices at a fraction, those smaller than ``floor`` left out."""
        pins = self.pins(bank) if self.pinned else None
        total = bank.shape.total
        if not fraction:
            enough = bank.free > 0
        elif total:
            enough = bank.free >= max(ceil(total * fraction), 1)
        else:
            enough = (bank.free >= bank.totals * fraction) & (bank.free > 0) & (bank.totals >= floor)
        if pins is not None:
            enough &= pins
        each = int(total * fraction) if total else 0
        return Supply(
            terms=terms, bank=bank, nodes=nodes, fraction=fraction, enough=enough, each=each, floor=floor, pins=pins
        )

    def pins(self, bank: Bank) -> Mask:
        """Return which devices of a bank are pinned."""
        mask = self._pins.get(bank.shape)
        if mask is None:
            mask = self._pins[bank.shape] = np.zeros((bank.shape.width, bank.size), np.bool_)
            for column, seat in enumerate(bank.seats):
                wanted = pins_of(self.request.spec, seat.node.name)
                chosen = {device.device_id for device in pinned(seat.node, wanted)} if wanted else set()
                for row, device in enumerate(seat.devices[bank.shape]):
                    mask[row, column] = device.device_id in chosen
        return mask

    def has_memory(self, bank: Bank, size_bytes: int, nodes: Mask) -> Mask:
        """Return which of the nodes have so much host memory left; none is needed of a node if it is 0."""
        if not size_bytes:
            return nodes
        return nodes & (self.columns.host[bank.slots] >= size_bytes)

    def host_slots(self) -> Iterator[tuple[int, Terms, Codes]]:
        """Yield the slots of the nodes that may run it on their processors."""
        for number, terms in enumerate(self.eligibility.terms):
            demand = terms.demand
            if demand.faults or not demand.host_wanted or not terms.profile.cpu or CPU not in terms.versions:
                continue
            yield number, terms, np.flatnonzero(self.eligibility.on(number))


def fractions(demand: Demand, framework: str, sizes: set[int]) -> list[tuple[int, float]]:
    """Return the fractions at which devices of these sizes can work together, each with the least size, largest first.

    Devices of an instance take one fraction: that of the smallest among them.
    """
    by_size = {total: demand.share(framework, total) for total in sorted(sizes, reverse=True)}
    if len(set(by_size.values())) <= 1:
        return [(0, next(iter(by_size.values()), 0.0))]
    return list(by_size.items())


def sizes_of(bank: Bank, mask: Mask) -> set[int]:
    """Return the sizes of the devices that the mask leaves."""
    if bank.shape.total:
        return {bank.shape.total} if mask.any() else set()
    return set(np.unique(bank.totals[mask]).tolist()) - {0}
