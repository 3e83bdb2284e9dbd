"""The best of what selectors found, and the runners-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from motorpool_controller.domain.placement import Candidate, Placement
from motorpool_controller.scheduling.banks import Numbers
from motorpool_controller.scheduling.columns import Codes
from motorpool_controller.scheduling.scorers import LOCALITY, MOST, NONE, Scorer, scorer, thousandths
from motorpool_controller.scheduling.selectors.batches import Batch, HostBatch
from motorpool_controller.scheduling.selectors.several_nodes import Gang
from motorpool_controller.scheduling.selectors.supply import Fleet
from motorpool_controller.scheduling.terms import Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The best placements, best first, with the terms of each; ``places`` is how many there are."""

    candidates: tuple[Candidate, ...] = ()
    terms: tuple[Terms, ...] = ()
    places: int = 0


@dataclass(slots=True, eq=False)
class _Ranked:
    """Placements of one kind as they are taken off, best first. ``scores`` are in thousandths, by column."""

    scores: Codes
    slots: Codes
    batch: Batch | HostBatch | Gang
    devices: Codes | None = None
    taken: dict[int, set[int]] = field(default_factory=dict)


def chosen(
    fleet: Fleet, batches: Sequence[Batch], gangs: Sequence[Gang], hosts: Sequence[HostBatch], keep: int
) -> Chosen:
    """Return the best ``keep`` placements."""
    led = [(batch.slots, batch.nodes) for batch in batches] + [(batch.slots, None) for batch in hosts]
    led += [(np.array([leader.bank.slots[column]]), None) for gang in gangs for leader, column, _ in gang.parts[:1]]
    if not led:
        return Chosen()
    judge = scorer(fleet.columns, fleet.request, led)
    local = _local(fleet)
    ranked = [_of_batch(batch, judge, local) for batch in batches]
    ranked += [
        _Ranked(thousandths(_with_files(judge.host(batch), batch.slots, local)), batch.slots, batch) for batch in hosts
    ]
    ranked += [_of_gang(gang, judge, local) for gang in gangs]
    candidates: list[Candidate] = []
    terms: list[Terms] = []
    rank = fleet.columns.rank
    places = sum(batch.places for batch in batches) + len(gangs) + sum(len(batch.slots) for batch in hosts)
    while len(candidates) < min(keep, places):
        placement, score, own = _take(fleet, ranked, rank)
        candidates.append(_candidate(fleet, placement, judge.name, score, local))
        terms.append(own)
    return Chosen(candidates=tuple(candidates), terms=tuple(terms), places=places)


def _candidate(fleet: Fleet, placement: Placement, name: str, score: int, local: Numbers | None) -> Candidate:
    points = score / 1000
    scores = {name: points}
    if local is not None:
        slots = np.array([fleet.columns.seats[member.node].slot for member in placement.members])
        files = float(local[slots].mean()) * LOCALITY * MOST / (MOST + LOCALITY)
        scores = {name: round(points - files, 3), "locality": round(files, 3)}
    return Candidate(placement=replace(placement, score=points), score=points, scores=scores)


def _of_batch(batch: Batch, judge: Scorer, local: Numbers | None) -> _Ranked:
    nodes, each = judge.batch(batch)
    devices = None if each is None else thousandths(_with_files(each, batch.slots, local))
    scores = np.where(batch.nodes, thousandths(_with_files(nodes, batch.slots, local)), NONE)
    return _Ranked(scores, batch.slots, batch, devices)


def _of_gang(gang: Gang, judge: Scorer, local: Numbers | None) -> _Ranked:
    leader, column, _ = gang.parts[0]
    slots = np.array([leader.bank.slots[column]])
    score = np.array([judge.placement(gang.placement())])
    if local is not None:
        members = np.array([supply.bank.slots[at] for supply, at, _ in gang.parts])
        score = (score + LOCALITY * local[members].mean()) * MOST / (MOST + LOCALITY)
    return _Ranked(thousandths(score), slots, gang)


def _with_files(scores: Numbers, slots: Codes, local: Numbers | None) -> Numbers:
    """Return scores with the points for files that are on the node already (B13.2)."""
    if local is None:
        return scores
    return (scores + LOCALITY * local[slots]) * MOST / (MOST + LOCALITY)


def _local(fleet: Fleet) -> Numbers | None:
    """Return by slot whether the model's files are there; None where they are nowhere, or nobody told."""
    there = [seat.slot for name in fleet.file_nodes if (seat := fleet.columns.seats.get(name)) is not None]
    if not there:
        return None
    local = np.zeros(len(fleet.columns.host))
    local[there] = 1.0
    return local


def _take(fleet: Fleet, ranked: Sequence[_Ranked], rank: Codes) -> tuple[Placement, int, Terms]:
    """Take the best placement off: the highest score, then the first by name of node, then of devices."""
    best = max(int(each.scores.max()) for each in ranked)
    firsts: list[tuple[int, tuple[str, ...], int, int, Placement, list[int]]] = []
    for number, each in enumerate(ranked):
        ties = np.flatnonzero(each.scores == best)
        if not len(ties):
            continue
        column = int(ties[np.argmin(rank[each.slots[ties]])])
        placement, rows = _at(fleet, each, column, best)
        ids = tuple(claim.device_id for claim in placement.members[0].claim.devices)
        firsts.append((int(rank[each.slots[column]]), ids, number, column, placement, rows))
    _, _, number, column, placement, rows = min(firsts, key=lambda first: first[:3])
    each = ranked[number]
    each.scores[column] = _next(each, column, rows)
    terms = each.batch.terms if isinstance(each.batch, HostBatch | Gang) else each.batch.supply.terms
    return placement, best, terms


def _at(fleet: Fleet, each: _Ranked, column: int, score: int) -> tuple[Placement, list[int]]:
    batch = each.batch
    if isinstance(batch, Gang):
        return batch.placement(), []
    if isinstance(batch, HostBatch):
        return batch.placement(fleet.columns.name_at(int(batch.slots[column]))), []
    if batch.count > 1:
        return batch.placement(column, rows := batch.rows(column)), rows
    open_rows = [int(row) for row in np.flatnonzero(batch.enough[:, column]) if row not in each.taken.get(column, ())]
    rows = [row for row in open_rows if each.devices is None or each.devices[row, column] == score][:1]
    return batch.placement(column, rows), rows


def _next(each: _Ranked, column: int, rows: Sequence[int]) -> int:
    """Return the score of a node's next placement: that of its next device, where one device is taken."""
    batch = each.batch
    if not isinstance(batch, Batch) or batch.count > 1:
        return NONE
    taken = each.taken.setdefault(column, set())
    taken.update(rows)
    left = [int(row) for row in np.flatnonzero(batch.enough[:, column]) if row not in taken]
    if not left:
        return NONE
    return int(each.scores[column]) if each.devices is None else max(int(each.devices[row, column]) for row in left)
