"""Rows by kind, before they are written: how many there are, which come first, and what was most there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from motorpool_controller.domain.placement import Refusal
from motorpool_controller.scheduling.banks import Bank, Bytes, Mask, Seat
from motorpool_controller.scheduling.columns import Codes, Columns

FOLD_ABOVE = 4
"""So many rows of a kind stand one by one; more are one row with a count."""

STAGES = (
    *("spec", "nodes", "labels", "state", "cordon", "backend", "executor", "framework", "parameters", "facts", "path"),
    *("devices", "memory"),
)
"""In which order rows are told; stages that are not here come before the devices."""


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Some rows of a kind: by rank of their node and place on it, with what was there; written on demand."""

    ranks: Codes
    places: Codes
    left: Codes | None
    row_of: Callable[[int], Refusal]


class Kinds:
    """Rows by stage, reason and resource."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._kinds: dict[tuple[str, str, str], list[_Part]] = {}

    def add(self, row: Refusal) -> None:
        """Add a row that is written already, and stands for itself."""
        nothing = np.full(1, -1, np.int64)
        left = None if row.available is None else np.array([row.available])
        self._put((row.stage, row.reason, row.resource), _Part(nothing, nothing, left, lambda _: row))

    def nodes(
        self,
        stage: str,
        reason: str,
        resource: str,
        slots: Codes,
        row_of: Callable[[Seat], Refusal],
        *,
        left: Codes | None = None,
    ) -> None:
        """Add a row for each node."""
        if not len(slots):
            return
        columns = self._columns

        def row_at(number: int) -> Refusal:
            return row_of(columns.seats[columns.name_at(int(slots[number]))])

        part = _Part(columns.rank[slots], np.zeros(len(slots), np.int64), left, row_at)
        self._put((stage, reason, resource), part)

    def devices(
        self,
        stage: str,
        reason: str,
        resource: str,
        bank: Bank,
        mask: Mask,
        row_of: Callable[[int, int], Refusal],
        *,
        left: Bytes | None = None,
    ) -> None:
        """Add a row for each device of the mask."""
        rows, at = np.nonzero(mask)
        if not len(rows):
            return
        # Devices of a node are told apart by id, also where they stand in several banks.
        places = rows if bank.shape.width == sum(map(len, bank.seats[0].devices.values())) else _places(bank, rows, at)
        part = _Part(
            self._columns.rank[bank.slots[at]],
            places,
            None if left is None else left[rows, at],
            lambda number: row_of(int(rows[number]), int(at[number])),
        )
        self._put((stage, reason, resource), part)

    def folded(self) -> tuple[Refusal, ...]:
        """Return the rows, in order; those of one kind made one where they are many."""
        order = {stage: number for number, stage in enumerate(STAGES)}
        result: list[Refusal] = []
        for (stage, reason, resource), parts in sorted(
            self._kinds.items(),
            key=lambda kind: (order.get(kind[0][0], order["devices"] - 0.5), kind[0][2] == "", kind[0]),
        ):
            del stage, reason, resource
            result.extend(_folded(parts))
        return tuple(result)

    def _put(self, kind: tuple[str, str, str], part: _Part) -> None:
        self._kinds.setdefault(kind, []).append(part)


def _folded(parts: list[_Part]) -> list[Refusal]:
    count = sum(len(part.ranks) for part in parts)
    if count <= FOLD_ABOVE:
        every = [
            (int(part.ranks[n]), int(part.places[n]), part.row_of(n)) for part in parts for n in range(len(part.ranks))
        ]
        return [row for _, _, row in sorted(every, key=lambda each: (each[0], each[1], each[2].subject))]
    firsts = [(part, _first(part, np.arange(len(part.ranks)))) for part in parts]
    first, at = min(firsts, key=lambda each: (int(each[0].ranks[each[1]]), int(each[0].places[each[1]])))
    best, best_at = _best(parts)
    row = best.row_of(best_at)
    return [
        replace(row, subject=first.row_of(at).subject, count=count, message=f"{count} times the like of: {row.message}")
    ]


def _best(parts: list[_Part]) -> tuple[_Part, int]:
    """Return where most was there; among equals the first."""
    found: list[tuple[int, int, int, int, int]] = []
    for number, part in enumerate(parts):
        everywhere = np.arange(len(part.ranks))
        most = -1 if part.left is None else int(part.left.max())
        at = _first(part, everywhere if part.left is None else np.flatnonzero(part.left == most))
        found.append((-most, int(part.ranks[at]), int(part.places[at]), number, at))
    _, _, _, number, at = min(found)
    return parts[number], at


def _first(part: _Part, among: Codes) -> int:
    ranks = part.ranks[among]
    among = among[ranks == ranks.min()]
    return int(among[np.argmin(part.places[among])])


def _places(bank: Bank, rows: Codes, at: Codes) -> Codes:
    places = []
    for row, column in zip(rows.tolist(), at.tolist(), strict=True):
        seat = bank.seats[column]
        own = seat.devices[bank.shape][row].device_id
        places.append(sum(each.device_id < own for devices in seat.devices.values() for each in devices))
    return cast("Codes", np.array(places, np.int64))
