"""Feasible placements, as many at a time as there are nodes alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from motorpool_controller.domain.placement import Claim, DeviceClaim, Placement
from motorpool_controller.scheduling.banks import Bytes, Mask
from motorpool_controller.scheduling.columns import Codes
from motorpool_controller.scheduling.selectors.links import linked
from motorpool_controller.scheduling.selectors.supply import Supply
from motorpool_controller.scheduling.terms import CPU, Terms


@dataclass(frozen=True, eq=False)
class Batch:
    """One placement for each node of ``nodes``, on ``count`` of its ``enough`` devices; for one device, on each."""

    supply: Supply
    nodes: Mask
    enough: Mask
    count: int

    @property
    def slots(self) -> Codes:
        """Slots by column."""
        return self.supply.bank.slots

    @cached_property
    def places(self) -> int:
        """How many placements there are."""
        return int(np.count_nonzero(self.enough & self.nodes if self.count == 1 else self.nodes))

    @cached_property
    def order(self) -> Codes:
        """Rows by column, those first that are taken first: the largest share, the most left, the first by id."""
        left = np.where(self.enough, self.supply.bank.free, -1)
        if self.supply.each or not self.supply.fraction:
            return np.argsort(-left, axis=0, kind="stable")
        shares = np.where(self.enough, self.supply.shares, -1)
        return np.lexsort((-left, -shares), axis=0)

    def rows(self, column: int) -> list[int]:
        """Return the devices that a node's placement takes; among equals those that are linked (issue 5)."""
        bank, wanted = self.supply.bank, self.count
        rows = [int(row) for row in np.flatnonzero(self.enough[:, column])]

        def worth(row: int) -> tuple[int, int, float]:
            free = int(bank.free[row, column])
            return -self.claim_on(row, column), -free, float(bank.busy[row, column])

        rows.sort(key=lambda row: (*worth(row)[:2], row))
        if wanted < len(rows):
            last = worth(rows[wanted - 1])
            sure = [row for row in rows[:wanted] if worth(row) != last]
            equal = [row for row in rows if worth(row) == last]
            seat = bank.seats[column]
            devices = seat.devices[bank.shape]
            chosen = linked([devices[row] for row in sure], [devices[row] for row in equal], wanted - len(sure))
            # Rows that come before the last one and differ from it only in how busy they are stay as they are.
            if len(sure) + len(chosen) == wanted:
                rows = [*sure, *(equal[number] for number in chosen)]
        return sorted(rows[:wanted])

    def claim_on(self, row: int, column: int) -> int:
        """Return what a placement claims of a device."""
        supply = self.supply
        if not supply.fraction:
            return supply.demand.each_of(self.count)
        return supply.each or int(int(supply.bank.totals[row, column]) * supply.fraction)

    def claims_and_memory(self) -> tuple[Bytes, Codes]:
        """Return what each device would give, and the host memory beside it: of one device by row, else by column."""
        supply, demand = self.supply, self.supply.demand
        size = supply.bank.free.shape
        if supply.fraction and not supply.each:
            claims = supply.shares
        else:
            claims = np.full(size, supply.each or demand.each_of(self.count), np.int64)
        claimed = claims
        if self.count > 1:
            claimed = np.take_along_axis(claims, self.order[: self.count], axis=0).sum(axis=0)
        return claims, (demand.memory or 0) + (demand.memory_ratio * claimed).astype(np.int64)

    def placement(self, column: int, rows: Sequence[int], score: float = 0.0) -> Placement:
        """Return the placement on these devices of a node."""
        supply = self.supply
        seat = supply.bank.seats[column]
        devices = seat.devices[supply.bank.shape]
        claims = tuple(DeviceClaim(devices[row].device_id, self.claim_on(row, column)) for row in rows)
        memory = supply.demand.memory_of(sum(claim.memory_bytes for claim in claims))
        return supply.terms.placement(
            supply.bank.shape.framework,
            ((seat.node.name, Claim(memory_bytes=memory, devices=claims)),),
            fraction=supply.fraction or None,
            score=score,
        )


@dataclass(frozen=True, eq=False)
class HostBatch:
    """One placement for each of these slots, in host memory alone."""

    terms: Terms
    slots: Codes
    needed: int

    def placement(self, node: str, score: float = 0.0) -> Placement:
        """Return the placement on a node."""
        return self.terms.placement(CPU, ((node, Claim(memory_bytes=self.needed)),), score=score)
