"""Rows as a change sees them: what is committed, under earlier changes of the batch, under its own."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Generic, TypeVar

from motorpool_controller.domain.declarations import DeclaredBackend
from motorpool_controller.domain.event import Event
from motorpool_controller.domain.fleet import Node, Profile
from motorpool_controller.domain.peak import Peak
from motorpool_controller.domain.workload import Deployment, Instance

V = TypeVar("V")
# Kinds whose rows carry their name and revision.
R = TypeVar("R", bound=Node | Deployment | Instance | DeclaredBackend | Event)

_CONTENT: dict[type[object], operator.attrgetter[object]] = {
    kind: operator.attrgetter(
        *(each.name for each in dataclasses.fields(kind) if each.compare and each.name != "revision")
    )
    for kind in (Node, Deployment, Instance, DeclaredBackend, Event)
}
"""What gives all of a row but its revision, by kind."""


@dataclasses.dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What a request was answered, kept so that its repetition gets the same."""

    request_id: str
    method: str
    digest: bytes
    response: bytes
    time: datetime


class Overlay(Mapping[str, V], Generic[V]):
    """A mapping by name that is changed without touching what lies below, also while iterating over it."""

    def __init__(self, committed: MappingProxyType[str, V], earlier: Mapping[str, V | None]) -> None:
        self._committed = committed
        self._earlier = earlier
        self._own: dict[str, V | None] = {}

    def __getitem__(self, name: str) -> V:
        value = self._own[name] if name in self._own else self.before(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        if self.untouched:
            return iter(list(self._committed))
        names = dict.fromkeys(self._committed)
        for layer in (self._earlier, self._own):
            for name, value in layer.items():
                if value is None:
                    names.pop(name, None)
                else:
                    names[name] = None
        return iter(names)

    def __len__(self) -> int:
        return len(self._committed) if self.untouched else sum(1 for _ in self)

    @property
    def untouched(self) -> bool:
        """Whether this is what is committed."""
        return not self._own and not self._earlier

    @property
    def touched(self) -> frozenset[str]:
        """Names of the rows that this change, or an earlier one of the batch, has put or deleted."""
        return frozenset({*self._earlier, *self._own})

    def merged(self) -> dict[str, V]:
        """Return what this change sees now, as a dict of its own: reading many rows of that is cheaper."""
        # Its own copy: a dict made of a proxy looks every row up, which takes twenty times as long.
        rows = self._committed.copy()
        for changed in (self._earlier, self._own):
            for name, row in changed.items():
                if row is None:
                    rows.pop(name, None)
                else:
                    rows[name] = row
        return rows

    def delete(self, name: str) -> None:
        """Remove a row; nothing happens where there is none."""
        self._own[name] = None

    def changed(self) -> dict[str, V | None]:
        """Return the rows that this change leaves different from what it found; None for a removed one."""
        return {name: value for name, value in self._own.items() if not self._same(value, self.before(name))}

    def before(self, name: str) -> V | None:
        """Return a row as this change found it."""
        return self._earlier[name] if name in self._earlier else self._committed.get(name)

    def _same(self, new: V | None, old: V | None) -> bool:
        return new == old


class Rows(Overlay[R]):
    """Nodes, deployments, instances, declared backends or events."""

    def __init__(self, committed: MappingProxyType[str, R], earlier: Mapping[str, R | None], revision: int) -> None:
        super().__init__(committed, earlier)
        self._revision = revision

    def put(self, row: R) -> R:
        """Add or replace a row; return it as it will be stored, with its revision. An equal one stays."""
        current = self.get(row.name)
        if current is not None and self._same(row, current):
            return current
        stored = dataclasses.replace(row, revision=self._revision)
        self._own[row.name] = stored
        return stored

    def among(self, committed: Mapping[str, R], belongs: Callable[[R], bool]) -> dict[str, R]:
        """Return those that belong to a group as this change sees it, given those that are committed in it."""
        rows = dict(committed)
        for layer in (self._earlier, self._own):
            for name, row in layer.items():
                if row is not None and belongs(row):
                    rows[name] = row
                else:
                    rows.pop(name, None)
        return rows

    def _same(self, new: R | None, old: R | None) -> bool:
        if new is None or old is None:
            return new is old
        content = _CONTENT[type(new)]
        return bool(content(new) == content(old))


class ProfileRows(Overlay[Profile]):
    """Profiles by digest."""

    def put(self, digest: str, profile: Profile) -> None:
        """Add a profile under its digest."""
        self._own[digest] = profile


class PeakRows(Overlay[Peak]):
    """Peaks by name of their kind."""

    def put(self, peak: Peak) -> None:
        """Keep a peak, in place of a lower one of its kind."""
        self._own[peak.kind.name] = peak


class AnswerRows(Overlay[StoredAnswer]):
    """Answered requests by request id."""

    def put(self, answer: StoredAnswer) -> None:
        """Keep an answer."""
        self._own[answer.request_id] = answer
