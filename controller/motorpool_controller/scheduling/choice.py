"""The best of what selectors found, and the runners-up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from motorpool_controller.domain.placement import Candidate, Placement
from motorpool_controller.scheduling.banks import Numbers, Seat
from motorpool_controller.scheduling.columns import Codes
from motorpool_controller.scheduling.scorers import LOCALITY, MOST, Scorer, scorer
from motorpool_controller.scheduling.selectors.batches import Batch, HostBatch
from motorpool_controller.scheduling.selectors.one_node import on_one_device
from motorpool_controller.scheduling.selectors.several_hosts import HostGang
from motorpool_controller.scheduling.selectors.several_nodes import Gang
from motorpool_controller.scheduling.selectors.supply import Fleet
from motorpool_controller.scheduling.terms import Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The best placements, best first, with the terms of each; ``places`` is how many there are."""

    candidates: tuple[Candidate, ...] = ()
    terms: tuple[Terms, ...] = ()
    places: int = 0


_RANKS = float(1 << 24)
"""Scores and ranks of names are compared as one number: more nodes than this there are not."""

_NEVER = -np.inf


@dataclass(slots=True, eq=False)
class _Ranked:
    """Placements of one kind as they are taken off, best first: ``keys`` order them by score, then by name."""

    keys: Numbers
    batch: Batch | HostBatch | Gang | HostGang
    devices: Numbers | None = None
    nodes: Numbers | None = None
    """What ``keys`` are of, where the placements are a batch's: the scores of its nodes."""
    taken: dict[int, set[int]] = field(default_factory=dict)


class Ranking:
    """Placements as selectors found them, of which the best are taken off."""

    def __init__(
        self, fleet: Fleet, batches: Sequence[Batch], gangs: Sequence[Gang | HostGang], hosts: Sequence[HostBatch]
    ) -> None:
        led = [(batch.slots, batch.nodes) for batch in batches] + [(batch.slots, None) for batch in hosts]
        led += [(gang.slots[:1], None) for gang in gangs]
        self._fleet = fleet
        self._judge = judge = scorer(fleet.columns, fleet.request, led)
        self._local = local = _local(fleet)
        rank = fleet.columns.rank
        self._ranked = [_of_batch(batch, judge, local, rank) for batch in batches]
        for host in hosts:
            scores = _with_files(judge.host(host), host.slots, local)
            self._ranked.append(_Ranked(np.rint(scores * 1000) * _RANKS - rank[host.slots], host))
        self._ranked += [_of_gang(gang, judge, local, rank) for gang in gangs]
        self._places = sum(batch.places for batch in batches) + len(gangs) + sum(len(batch.slots) for batch in hosts)

    def best(self, keep: int) -> Chosen:
        """Return the best ``keep`` placements."""
        candidates: list[Candidate] = []
        terms: list[Terms] = []
        while len(candidates) < keep and (found := _take(self._fleet, self._ranked)) is not None:
            placement, own = found
            candidates.append(_candidate(self._fleet, placement, self._judge.name, self._local))
            terms.append(own)
        return Chosen(candidates=tuple(candidates), terms=tuple(terms), places=self._places)

    def renew(self, node: str) -> bool:
        """Take a node as it is once one device of it was booked; return whether all is as if it were ranked anew.

        Only where all placements are on single devices, of banks of devices alike.
        """
        seat, rank = self._fleet.columns.seats[node], self._fleet.columns.rank
        found = [(ranked, column, self._narrow(batch, seat)) for ranked, batch, column in self._of(seat)]
        if not self._judge.renew(seat.slot, feasible=any(narrow is not None for _, _, narrow in found)):
            return False
        for ranked, column, narrow in found:
            batch = ranked.batch
            assert isinstance(batch, Batch)  # noqa: S101
            self._places -= int(np.count_nonzero(batch.enough[:, column])) if batch.nodes[column] else 0
            ranked.taken.pop(column, None)
            if narrow is None:
                batch.nodes[column], ranked.keys[column] = False, _NEVER
                continue
            anew = _of_batch(narrow, self._judge, self._local, rank)
            assert anew.nodes is not None  # noqa: S101
            if ranked.devices is not None:
                ranked.devices[:, column] = anew.nodes if anew.devices is None else anew.devices[:, 0]
            elif anew.devices is not None:
                return False  # so far each was worth the same
            self._places += narrow.places
            batch.nodes[column], batch.enough[:, column] = True, narrow.enough[:, 0]
            ranked.keys[column] = anew.keys[0]
        return True

    def _of(self, seat: Seat) -> Iterator[tuple[_Ranked, Batch, int]]:
        """Yield where a node's devices stand."""
        for ranked in self._ranked:
            batch = ranked.batch
            assert isinstance(batch, Batch)  # noqa: S101
            bank = batch.supply.bank
            if bank.shape in seat.columns:
                column = bank.column_of(seat)
                if column < bank.size and bank.seats[column] is seat:
                    yield ranked, batch, column

    def _narrow(self, batch: Batch, seat: Seat) -> Batch | None:
        """Return what of a batch a single node has by now; None where that is nothing."""
        supply, shape = batch.supply, batch.supply.bank.shape
        bank = self._fleet.columns.banks[shape].part(np.array([seat.columns[shape]]))
        here = np.array([supply.nodes[supply.bank.column_of(seat)]])
        batches = on_one_device(self._fleet, [self._fleet.supply(supply.terms, bank, here, 0, supply.fraction)])
        return batches[0] if batches else None


def chosen(
    fleet: Fleet, batches: Sequence[Batch], gangs: Sequence[Gang | HostGang], hosts: Sequence[HostBatch], keep: int
) -> Chosen:
    """Return the best ``keep`` placements."""
    return Ranking(fleet, batches, gangs, hosts).best(keep) if batches or gangs or hosts else Chosen()


def _candidate(fleet: Fleet, placement: Placement, name: str, local: Numbers | None) -> Candidate:
    points = placement.score
    if local is None:
        return Candidate(placement=placement, score=points, scores={name: points})
    slots = np.array([fleet.columns.seats[member.node].slot for member in placement.members])
    files = float(local[slots].mean()) * LOCALITY * MOST / (MOST + LOCALITY)
    scores = {name: round(points - files, 3), "locality": round(files, 3)}
    return Candidate(placement=placement, score=points, scores=scores)


def _of_batch(batch: Batch, judge: Scorer, local: Numbers | None, rank: Codes) -> _Ranked:
    nodes, devices = judge.batch(batch)
    nodes = _with_files(nodes, batch.slots, local)
    keys = np.rint(nodes * 1000)
    keys *= _RANKS
    keys -= rank[batch.slots]
    keys[~batch.nodes] = _NEVER
    return _Ranked(keys, batch, None if devices is None else _with_files(devices, batch.slots, local), nodes)


def _of_gang(gang: Gang | HostGang, judge: Scorer, local: Numbers | None, rank: Codes) -> _Ranked:
    slots = gang.slots
    score = judge.placement(gang.placement())
    if local is not None:
        score = (score + LOCALITY * float(local[slots].mean())) * MOST / (MOST + LOCALITY)
    return _Ranked(np.array([round(score * 1000) * _RANKS - float(rank[slots[0]])]), gang)


def _with_files(scores: Numbers, slots: Codes, local: Numbers | None) -> Numbers:
    """Return scores with the points for files that are on the node already (B13.2)."""
    if local is None:
        return scores
    return (scores + LOCALITY * local[slots]) * MOST / (MOST + LOCALITY)


def _local(fleet: Fleet) -> Numbers | None:
    """Return by slot whether the model's files are there; None where all that may run it have them, or none.

    Who has them is known, or told by the answers about the path: where its headers were read, it is.
    """
    if fleet.file_nodes:
        local = np.zeros(len(fleet.columns.host))
        local[[seat.slot for name in fleet.file_nodes if (seat := fleet.columns.seats.get(name)) is not None]] = 1.0
        return local if local.any() else None
    codes, readings = fleet.columns.readings_at(fleet.request.spec.model.place)
    read = [reading.facts is not None for reading in readings]
    if all(read[1:]) or not any(read):
        return None
    local = np.array(read, np.float64)[codes]
    here = local[fleet.eligibility.index >= 0]
    return local if here.any() and not here.all() else None


def _take(fleet: Fleet, ranked: Sequence[_Ranked]) -> tuple[Placement, Terms] | None:
    """Take the best placement off: the highest score, then the first by name of node, then of devices."""
    columns = [int(each.keys.argmax()) for each in ranked]
    keys = [float(each.keys[column]) for each, column in zip(ranked, columns, strict=True)]
    best = max(keys)
    if best == _NEVER:
        return None
    score = int(-(-best // _RANKS))
    equal = [number for number, key in enumerate(keys) if key == best]
    found = [(_at(fleet, ranked[number], columns[number], score), number) for number in equal]
    (placement, rows), number = min(found, key=lambda each: _ids(each[0][0])) if len(found) > 1 else found[0]
    each, column = ranked[number], columns[number]
    each.keys[column] = _next(each, column, rows, score - best / _RANKS)
    terms = each.batch.supply.terms if isinstance(each.batch, Batch) else each.batch.terms
    return placement, terms


def _ids(placement: Placement) -> tuple[str, ...]:
    return tuple(claim.device_id for claim in placement.members[0].claim.devices)


def _at(fleet: Fleet, each: _Ranked, column: int, score: int) -> tuple[Placement, list[int]]:
    batch, points = each.batch, score / 1000
    if isinstance(batch, Gang | HostGang):
        return batch.placement(points), []
    if isinstance(batch, HostBatch):
        return batch.placement(fleet.columns.name_at(int(batch.slots[column])), points), []
    if batch.count > 1:
        rows = batch.rows(column)
        return batch.placement(column, rows, points), rows
    taken = each.taken.get(column, ())
    rows = [row for row in batch.enough[:, column].nonzero()[0].tolist() if row not in taken]
    if each.devices is not None:
        rows = [row for row in rows if round(float(each.devices[row, column]) * 1000) == score]
    return batch.placement(column, rows[:1], points), rows[:1]


def _next(each: _Ranked, column: int, rows: Sequence[int], rank: float) -> float:
    """Return the key of a node's next placement: that of its next device, where one device is taken."""
    batch = each.batch
    if not isinstance(batch, Batch) or batch.count > 1:
        return _NEVER
    taken = each.taken.setdefault(column, set())
    taken.update(rows)
    left = [row for row in batch.enough[:, column].nonzero()[0].tolist() if row not in taken]
    if not left:
        return _NEVER
    if each.devices is None:
        return float(each.keys[column])
    return (max(round(float(each.devices[row, column]) * 1000) for row in left) - rank) * _RANKS
