"""Which feasible placement is best: binpack or spread, and where the model's files are; 0 to 100 (B13, A19).

Scores are compared in thousandths of a point; among equals the first by name of node wins, then of device (A20).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np

from motorpool_controller.domain.placement import Claim, Placement
from motorpool_controller.domain.workload import Strategy
from motorpool_controller.scheduling.banks import Mask, Numbers
from motorpool_controller.scheduling.columns import Codes, Columns
from motorpool_controller.scheduling.selectors.batches import Batch, HostBatch
from motorpool_controller.scheduling.snapshot import Request

MOST = 100.0
LOCALITY = 5.0
"""Points for files that are there, beside the hundred of the placement (B13.2); the sum is scaled to a hundred."""

LEADER = 5.0
"""How often the leader's node counts where followers count once (B13.1)."""


class Spread:
    """Fewest of the deployment, then of others: on the node, and on the device (B13.1)."""

    name = "spread"

    def __init__(self, columns: Columns, request: Request, slots: Iterable[tuple[Codes, Mask | None]]) -> None:
        self._columns = columns
        self._deployment = request.deployment
        self._tally = columns.tally(request.deployment)
        self._feasible = np.concatenate([here if mask is None else here[mask] for here, mask in slots])
        self._own = self._tally.nodes[self._feasible]
        self._others = columns.busy[self._feasible] - self._own
        self._bounds = _bounds(self._own, self._others)
        self._worth = np.zeros(len(columns.busy))
        self._worth[self._feasible] = _spread(self._own, self._others, self._bounds)

    def renew(self, slot: int, *, feasible: bool) -> bool:
        """Take a node as it is now; return whether the others are worth what they were."""
        here = np.flatnonzero(self._feasible == slot)
        if feasible:
            self._tally = self._columns.tally(self._deployment)
            self._own[here] = self._tally.nodes[slot]
            self._others[here] = self._columns.busy[slot] - self._tally.nodes[slot]
        else:
            self._feasible = np.delete(self._feasible, here)
            self._own, self._others = np.delete(self._own, here), np.delete(self._others, here)
        if _bounds(self._own, self._others) != self._bounds:
            return False
        if feasible:
            self._worth[slot] = _spread(self._own[here], self._others[here], self._bounds)[0]
        return True

    def of_nodes(self, slots: Codes) -> Numbers:
        """Return what nodes are worth, 0 to 1."""
        return self._worth[slots]

    def of_devices(self, batch: Batch) -> Numbers | None:
        """Return what devices are worth, 0 to 1, by row and column; None where each is worth 1."""
        bank = batch.supply.bank
        if not (bank.used & batch.enough).any():
            return None
        own = self._tally.devices.get(bank.shape)
        if own is None:
            return 1 / (1 + 0.2 * bank.busy)
        own = bank.own(own)
        return 1 / (1 + own + 0.2 * (bank.busy - own))

    def batch(self, batch: Batch) -> tuple[Numbers, Numbers | None]:
        """Return the score of each node's best placement, and that of each device where there is one for each."""
        nodes = 0.85 * self.of_nodes(batch.slots)
        devices = self.of_devices(batch)
        if devices is None:
            return MOST * (nodes + 0.15), None
        if batch.count == 1:
            scores = MOST * (nodes + 0.15 * devices)
            return np.where(batch.enough, scores, -1.0).max(axis=0), scores
        taken = np.take_along_axis(devices, batch.order[: batch.count], axis=0)
        return MOST * (nodes + 0.15 * (taken.sum(axis=0) / batch.count)), None

    def host(self, batch: HostBatch) -> Numbers:
        """Return the scores of placements in host memory."""
        return MOST * self.of_nodes(batch.slots)

    def placement(self, placement: Placement) -> float:
        """Return the score of a placement on several nodes; the leader's counts (B13.1)."""
        leader = placement.members[0]
        seat = self._columns.seats[leader.node]
        node = float(self.of_nodes(np.array([seat.slot]))[0])
        quiet = []
        for claim in leader.claim.devices:
            shape, row, _ = seat.cells[claim.device_id]
            column = seat.columns[shape]
            counts = self._tally.devices.get(shape)
            own = 0.0 if counts is None else float(counts[row, column])
            quiet.append(1 / (1 + own + 0.2 * (float(self._columns.banks[shape].busy[row, column]) - own)))
        if not quiet:
            return MOST * node
        return MOST * (0.85 * node + 0.15 * (sum(quiet) / len(quiet)))


class Binpack:
    """The share of what is left that the claim fills: a third host memory, two thirds the fullest device (B13.1)."""

    name = "binpack"

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def renew(self, slot: int, *, feasible: bool) -> bool:
        """Take a node as it is now; return whether the others are worth what they were: it has no say in that."""
        return True

    def batch(self, batch: Batch) -> tuple[Numbers, Numbers | None]:
        """Return the score of each node's best placement, and that of each device where there is one for each."""
        claims, memory = batch.claims_and_memory()
        with np.errstate(divide="ignore", invalid="ignore"):
            filled = np.where(batch.enough, MOST * claims / batch.supply.bank.free, 0.0)
        if batch.count == 1:
            scores = (self._host(batch.slots, memory) + 2 * filled) / 3
            return np.where(batch.enough, scores, -1.0).max(axis=0), scores
        most = np.take_along_axis(filled, batch.order[: batch.count], axis=0).max(axis=0)
        return (self._host(batch.slots, memory) + 2 * most) / 3, None

    def host(self, batch: HostBatch) -> Numbers:
        """Return the scores of placements in host memory."""
        return self._host(batch.slots, np.full(len(batch.slots), batch.needed))

    def placement(self, placement: Placement) -> float:
        """Return the score of a placement on several nodes: each node once, the leader's five times (A19)."""
        scores = [self._filled(member.node, member.claim) for member in placement.members]
        return (LEADER * scores[0] + sum(scores[1:])) / (LEADER + len(scores) - 1)

    def _host(self, slots: Codes, memory: Codes) -> Numbers:
        left = self._columns.host[slots]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(left > 0, MOST * memory / left, 0.0)

    def _filled(self, node: str, claim: Claim) -> float:
        seat = self._columns.seats[node]
        host = int(self._columns.host[seat.slot])
        filled = MOST * claim.memory_bytes / host if host > 0 else 0.0
        if not claim.devices:
            return filled
        most = 0.0
        for part in claim.devices:
            shape, row, _ = seat.cells[part.device_id]
            left = int(self._columns.banks[shape].free[row, seat.columns[shape]])
            most = max(most, MOST * part.memory_bytes / left if left > 0 else 0.0)
        return (filled + 2 * most) / 3


Scorer = Spread | Binpack


def scorer(columns: Columns, request: Request, slots: Sequence[tuple[Codes, Mask | None]]) -> Scorer:
    """Return the scorer that the deployment asks for, for placements led by these nodes."""
    return Binpack(columns) if request.spec.strategy is Strategy.BINPACK else Spread(columns, request, slots)


_Bounds = tuple[float, float, float, float] | None


def _bounds(own: Numbers, others: Numbers) -> _Bounds:
    """Return the fewest and the most instances of the deployment, and of others, that feasible nodes have."""
    if not len(own):
        return None
    return float(own.min()), float(own.max()), float(others.min()), float(others.max())


def _spread(own: Numbers, others: Numbers, bounds: _Bounds) -> Numbers:
    """Return what feasible nodes are worth that have so many instances of the deployment and of others, 0 to 1."""
    if bounds is None:
        return own
    fewest, most, *of_others = bounds
    fewer_others = _inverse(others, *of_others)
    if most == 0:
        return 0.85 + 0.15 * fewer_others
    fewer_own = _inverse(own, fewest, most)
    if fewest > 0:
        return 0.50 + 0.25 * fewer_own + 0.15 * fewer_others
    fresh = 0.85 + 0.15 * fewer_others
    return cast("Numbers", np.where(own == 0, fresh, 0.45 + 0.35 * fewer_own + 0.20 * fewer_others))


def _inverse(counts: Numbers, least: float, most: float) -> Numbers:
    if most <= least:
        return np.ones(len(counts))
    return 1 - (counts - least) / (most - least)
