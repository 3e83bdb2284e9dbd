"""What the columns have followed, and how a later snapshot differs from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from motorpool_controller.domain.fleet import Node, NodeUsage, Profile
from motorpool_controller.domain.peak import Peak
from motorpool_controller.domain.workload import Instance
from motorpool_controller.scheduling.snapshot import Reading, Snapshot, Touched

_Key = TypeVar("_Key")
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """Rows that are others than before: nodes and instances as pairs of before and after, the rest by key.

    None stands for no row. ``rules``: what versions and models are is not what it was.
    """

    nodes: list[tuple[Node | None, Node | None]]
    instances: list[tuple[Instance | None, Instance | None]]
    usage: list[tuple[str, NodeUsage | None]]
    readings: list[tuple[tuple[str, str], Reading | None]]
    rules: bool


@dataclass(slots=True)
class Seen:
    """The rows of the last snapshot that was followed."""

    nodes: dict[str, Node] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    usage: dict[str, NodeUsage] = field(default_factory=dict)
    readings: dict[tuple[str, str], Reading] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    peaks: dict[str, Peak] = field(default_factory=dict)
    declared: dict[str, Profile] = field(default_factory=dict)
    hub_models: dict[str, Reading] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there was no snapshot yet, or nothing in it."""
        return not (self.nodes or self.instances or self.usage or self.readings)

    def differing(self, snapshot: Snapshot, touched: Touched | None) -> Differing:
        """Return how a snapshot differs, as far as ``touched`` says; None looks at everything."""
        names = None if touched is None else touched.nodes
        instances = None if touched is None else touched.instances
        usage = None if touched is None else touched.usage
        keys = None if touched is None else touched.readings
        return Differing(
            nodes=[(before, after) for _, before, after in _others(self.nodes, snapshot.nodes, names)],
            instances=[(before, after) for _, before, after in _others(self.instances, snapshot.instances, instances)],
            usage=[(name, after) for name, _, after in _others(self.usage, snapshot.usage, usage)],
            readings=[(key, after) for key, _, after in _others(self.readings, snapshot.readings, keys)],
            rules=any(snapshot.profiles.get(digest) is not profile for digest, profile in self.profiles.items())
            or self.peaks != snapshot.peaks
            or self.declared != snapshot.declared
            or self.hub_models != snapshot.hub_models,
        )

    def take(self, snapshot: Snapshot, differing: Differing, *, whole: bool) -> None:
        """Take a snapshot's rows in the place of those before."""
        if whole:
            self.nodes, self.instances = dict(snapshot.nodes), dict(snapshot.instances)
            self.usage, self.readings = dict(snapshot.usage), dict(snapshot.readings)
        else:
            _replace(self.nodes, [(_name(*pair), pair[1]) for pair in differing.nodes])
            _replace(self.instances, [(_name(*pair), pair[1]) for pair in differing.instances])
            _replace(self.usage, differing.usage)
            _replace(self.readings, differing.readings)
        self.profiles = dict(snapshot.profiles)
        if differing.rules:
            self.peaks, self.declared = dict(snapshot.peaks), dict(snapshot.declared)
            self.hub_models = dict(snapshot.hub_models)


def _others(
    before: Mapping[_Key, _Row], after: Mapping[_Key, _Row], keys: Collection[_Key] | None
) -> list[tuple[_Key, _Row | None, _Row | None]]:
    looked: Collection[_Key] = {**before, **after} if keys is None else keys
    return [(key, before.get(key), after.get(key)) for key in looked if before.get(key) is not after.get(key)]


def _replace(rows: dict[_Key, _Row], changed: list[tuple[_Key, _Row | None]]) -> None:
    for key, row in changed:
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row


def _name(before: Node | Instance | None, after: Node | Instance | None) -> str:
    row = after or before
    return "" if row is None else row.name
