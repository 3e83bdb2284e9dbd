"""Which nodes may run a request, on which terms: filters look at one node of each class, and are not asked again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from motorpool_controller.domain.fleet import BackendVersion
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.workload import DeploymentSpec
from motorpool_controller.estimation.needs import needs_of
from motorpool_controller.scheduling.banks import Mask
from motorpool_controller.scheduling.columns import Codes, Columns
from motorpool_controller.scheduling.companions import wanted_by, with_companions
from motorpool_controller.scheduling.filters import examined, pins_of, refused_anywhere, unknown_pins
from motorpool_controller.scheduling.passing import Passing
from motorpool_controller.scheduling.rules.registry import RULES
from motorpool_controller.scheduling.rules.wish import Wish
from motorpool_controller.scheduling.snapshot import Reading, Request, Snapshot
from motorpool_controller.scheduling.terms import Terms

MOST_REMEMBERED = 1_024
NOWHERE = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Eligibility:
    """What the filters say of a fleet. ``index`` tells by slot which of ``terms`` a node has; NOWHERE for none.

    ``removed`` are slots by the stage and reason of the filter that removed their nodes; ``rows`` concern no node.
    ``unread`` are the slots of those that have not told of what lies at a path that is wanted, or failed to.
    """

    terms: tuple[Terms, ...] = ()
    index: Codes
    removed: Mapping[tuple[str, str], Codes]
    rows: tuple[Refusal, ...] = ()
    unread: Mapping[str, Codes] = field(default_factory=dict)

    def on(self, number: int) -> Mask:
        """Return, by slot, which nodes have the terms of this number."""
        mask: Mask = self.index == number
        return mask


def eligible(columns: Columns, snapshot: Snapshot, request: Request) -> Eligibility:
    """Return what the filters say, remembered while neither nodes nor readings change."""
    key = id(request.spec)
    known = columns.memo.get(key)
    if known is not None and known[0] is request.spec and known[1] == (columns.revision, request.deployment):
        return cast("Eligibility", known[2])
    found = _eligible(columns, snapshot, request)
    if len(columns.memo) >= MOST_REMEMBERED:
        columns.memo.clear()
    # The spec is kept, so that no other can have its id.
    columns.memo[key] = (request.spec, (columns.revision, request.deployment), found)
    return found


def _eligible(columns: Columns, snapshot: Snapshot, request: Request) -> Eligibility:
    nowhere = np.full(len(columns.class_of), NOWHERE, np.int64)
    rows = refused_anywhere(snapshot, request)
    if rows:
        return Eligibility(index=nowhere, removed={}, rows=rows)
    sorting = _Sorting(columns, snapshot, request.spec, nowhere)
    if request.spec.devices:
        sorting.by_node()
        rows = tuple(unknown_pins(snapshot, request.spec))
    else:
        sorting.by_class()
    return Eligibility(
        terms=tuple(sorting.terms),
        index=sorting.index,
        removed={kind: np.concatenate(slots) for kind, slots in sorted(sorting.removed.items())},
        rows=rows,
        unread={path: np.concatenate(slots) for path, slots in sorting.unread.items()},
    )


class _Sorting:
    """Nodes as they are sorted into terms and reasons."""

    def __init__(self, columns: Columns, snapshot: Snapshot, spec: DeploymentSpec, index: Codes) -> None:
        self.terms: list[Terms] = []
        self.index = index
        self.removed: dict[tuple[str, str], list[Codes]] = {}
        self.unread: dict[str, list[Codes]] = {}
        self._columns = columns
        self._snapshot = snapshot
        self._spec = spec
        self._numbers: dict[object, int] = {}
        self._codes, self._readings = columns.readings_at(spec.model.place)
        self._beside = {wanted.path: columns.readings_at(wanted.path) for wanted in wanted_by(spec)}

    def by_node(self) -> None:
        """Look at the nodes that have pinned devices, one by one; the others are not pinned."""
        others = []
        for name, seat in self._columns.seats.items():
            if pins_of(self._spec, name):
                passing = Passing(seat.node, self._spec, self._snapshot)
                self._answer(passing, seat.slot)
                self._sort(passing, np.array([seat.slot]), examined(passing))
            else:
                others.append(seat.slot)
        if others:
            self.removed.setdefault(("devices", "NOT_PINNED"), []).append(np.array(others))

    def by_class(self) -> None:
        """Look at one node of each class and answer about the path."""
        classes = self._columns.class_of
        passing_labels = self._labelled()
        mixed = classes * len(self._readings) + self._codes
        for codes, readings in self._beside.values():
            mixed = mixed * len(readings) + codes
        mixed[~passing_labels] = NOWHERE
        for each in np.flatnonzero(np.bincount(mixed[mixed >= 0])):
            slots = np.flatnonzero(mixed == each)
            passing = Passing(self._columns.classes[int(classes[slots[0]])], self._spec, self._snapshot)
            self._answer(passing, int(slots[0]))
            self._sort(passing, slots, examined(passing, labels=False))

    def _answer(self, passing: Passing, slot: int) -> None:
        """Give a node the answers that those of its slot gave."""
        passing.reading = self._readings[self._codes[slot]]
        passing.readings = {path: readings[codes[slot]] for path, (codes, readings) in self._beside.items()}

    def _labelled(self) -> Mask:
        there: Mask = self._columns.class_of >= 0
        if not self._spec.match_labels:
            return there
        passing = np.zeros(len(there), np.bool_)
        passing[self._columns.labelled(self._spec.match_labels)] = True
        wrong = np.flatnonzero(there & ~passing)
        if len(wrong):
            self.removed.setdefault(("labels", "LABELS_DIFFER"), []).append(wrong)
        return passing

    def _sort(self, passing: Passing, slots: Codes, row: Refusal | None) -> None:
        for path in dict.fromkeys(passing.asked):
            self.unread.setdefault(path, []).append(slots)
        if row is not None:
            self.removed.setdefault((row.stage, row.reason), []).append(slots)
            return
        self.index[slots] = self._number(passing)

    def _number(self, passed: Passing) -> int:
        profile, reading = passed.profile, passed.reading or Reading()
        assert profile is not None, "a node without a profile is removed"  # noqa: S101
        digest = passed.node.profiles.get(profile.backend, "")
        versions = tuple(sorted((framework, version.version) for framework, version in passed.versions.items()))
        # Wherever its program lies, nodes with the same engine may share an instance.
        beside = tuple((passed.readings or {}).values())
        key = (self._columns.likeness.of(digest, profile) if digest else -1, versions, reading, beside)
        if key not in self._numbers:
            self._numbers[key] = len(self.terms)
            self.terms.append(_terms(passed, reading))
        return self._numbers[key]


def _terms(passed: Passing, reading: Reading) -> Terms:
    profile = passed.profile
    assert profile is not None, "a node without a profile is removed"  # noqa: S101
    facts = None if reading.facts is None else with_companions(reading.facts, passed)
    needs = needs_of(facts, profile, passed.parameters, passed.spec, passed.snapshot.peaks)
    version: BackendVersion | None = next(iter(passed.versions.values()), None)
    wish = Wish(
        spec=passed.spec,
        facts=reading.facts,
        profile=profile,
        version=version,
        parameters=passed.parameters,
        needs=needs,
    )
    return Terms(
        profile=profile,
        versions=passed.versions,
        parameters=passed.parameters,
        facts=reading.facts,
        needs=needs,
        demand=RULES[profile.rules](wish),
    )
