"""The store's mirror in memory: what is committed, and nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from motorpool_controller.domain.controllers import Standing
from motorpool_controller.domain.declarations import DeclaredBackend
from motorpool_controller.domain.event import Event
from motorpool_controller.domain.fleet import Node, Profile
from motorpool_controller.domain.groups import Groups
from motorpool_controller.domain.peak import Peak
from motorpool_controller.domain.workload import Deployment, Instance
from motorpool_controller.store.order import Order
from motorpool_controller.store.pending import Change, Pending
from motorpool_controller.store.restoration import Restoration
from motorpool_controller.store.rows import StoredAnswer

V = TypeVar("V")

EVENTS_KEPT = 5_000
CHANGES_KEPT = 10_000
# Old rows go in batches of this many at least: trimming one row with every write would double the writes.
SLACK = 500


class View:
    """What is committed. It changes while its reader awaits: do not iterate over it across an await."""

    def __init__(self, cluster_id: str, controller_epoch: int, revision: int, changes_since: int) -> None:
        self.cluster_id = cluster_id
        self.controller_epoch = controller_epoch
        self.revision = revision
        self.changes_since = changes_since
        self.restoration: Restoration | None = None
        self.standings: tuple[Standing, ...] = ()
        """The controllers, when this one took over."""
        """The last time that the store was restored from a backup."""
        self._nodes: dict[str, Node] = {}
        self._names: dict[str, str] = {}
        """Names of nodes by their uids."""
        self._deployments: dict[str, Deployment] = {}
        self._instances: dict[str, Instance] = {}
        self._profiles: dict[str, Profile] = {}
        self._peaks: dict[str, Peak] = {}
        self._backends: dict[str, DeclaredBackend] = {}
        self._events: dict[str, Event] = {}
        self._answers: dict[str, StoredAnswer] = {}
        self._latest_events: dict[str, str] = {}
        self._changes: deque[Change] = deque()
        self._orders = {
            "nodes": Order(self._nodes),
            "deployments": Order(self._deployments),
            "instances": Order(self._instances),
        }
        self.offering = (cluster_id, revision)
        """Another value whenever nodes, profiles or declared backends have changed: what backends there are."""
        self.groups = Groups()
        """The instances of each deployment, and on each node."""
        self.nodes = MappingProxyType(self._nodes)
        self.deployments = MappingProxyType(self._deployments)
        self.instances = MappingProxyType(self._instances)
        self.profiles = MappingProxyType(self._profiles)
        self.peaks = MappingProxyType(self._peaks)
        self.backends = MappingProxyType(self._backends)
        """Declared backends; those that nodes report stand in their profiles."""
        self.events = MappingProxyType(self._events)
        """Events by name, the oldest revision first."""
        self.answers = MappingProxyType(self._answers)
        self.latest_events: Mapping[str, str] = MappingProxyType(self._latest_events)
        """Name of the last event of each subject."""

    def fill(
        self,
        *,
        nodes: Iterable[Node],
        deployments: Iterable[Deployment],
        instances: Iterable[Instance],
        profiles: Mapping[str, Profile],
        peaks: Mapping[str, Peak],
        backends: Iterable[DeclaredBackend],
        events: Iterable[Event],
        answers: Iterable[StoredAnswer],
        changes: Iterable[Change],
    ) -> None:
        """Take in what the database holds; events and changes by revision."""
        for node in nodes:
            self._nodes[node.name] = node
            self._names[node.uid] = node.name
        self._deployments.update((row.name, row) for row in deployments)
        for row in instances:
            self._instances[row.name] = row
            self.groups.replace(None, row)
        self._profiles.update(profiles)
        self._peaks.update(peaks)
        self._backends.update((row.name, row) for row in backends)
        self._events.update((row.name, row) for row in events)
        self._answers.update((row.request_id, row) for row in answers)
        self._latest_events.update((row.subject, row.name) for row in self._events.values())
        self._changes.extend(changes)
        self._orders["nodes"].touch(self._nodes)
        self._orders["deployments"].touch(self._deployments)
        self._orders["instances"].touch(self._instances)

    @property
    def node_names(self) -> Sequence[str]:
        """The names of all nodes, in order."""
        return self._orders["nodes"].names

    @property
    def deployment_names(self) -> Sequence[str]:
        """The names of all deployments, in order."""
        return self._orders["deployments"].names

    @property
    def instance_names(self) -> Sequence[str]:
        """The names of all instances, in order."""
        return self._orders["instances"].names

    def node_of(self, uid: str) -> Node | None:
        """Return the node with this uid."""
        return self._nodes.get(self._names.get(uid, ""))

    def changes_after(self, revision: int) -> Iterable[Change]:
        """Return the changes after a revision that is not older than ``changes_since``, in their order."""
        found: deque[Change] = deque()
        for change in reversed(self._changes):
            if change.revision <= revision:
                break
            found.appendleft(change)
        return found

    def trim(self, pending: Pending) -> None:
        """Add to a batch the removal of the oldest events and changes, once there are too many."""
        surplus = len(self._events) + len(pending.events) - EVENTS_KEPT
        if surplus >= SLACK:
            for name, _ in zip(self._events, range(surplus), strict=False):
                pending.events.setdefault(name, None)
        surplus = len(self._changes) + len(pending.changes) - CHANGES_KEPT
        if surplus >= SLACK and self._changes:
            pending.changes_since = self._changes[min(surplus, len(self._changes)) - 1].revision

    def existing(self, pending: Pending) -> dict[str, frozenset[str]]:
        """Return, for each table, which of the rows that a batch writes are there already."""
        return {
            "nodes": frozenset(self.nodes.keys() & pending.nodes.keys()),
            "deployments": frozenset(self.deployments.keys() & pending.deployments.keys()),
            "instances": frozenset(self.instances.keys() & pending.instances.keys()),
            "profiles": frozenset(self.profiles.keys() & pending.profiles.keys()),
            "peaks": frozenset(self.peaks.keys() & pending.peaks.keys()),
            "backends": frozenset(self.backends.keys() & pending.backends.keys()),
            "events": frozenset(self.events.keys() & pending.events.keys()),
            "requests": frozenset(self.answers.keys() & pending.answers.keys()),
        }

    def apply(self, pending: Pending) -> None:
        """Take in a batch that was committed."""
        if pending.nodes or pending.profiles or pending.backends:
            self.offering = (self.cluster_id, pending.revision)
        for name, node in pending.nodes.items():
            before = self._nodes.get(name)
            if before is not None:
                self._names.pop(before.uid, None)
            if node is not None:
                self._names[node.uid] = name
        _apply(self._nodes, pending.nodes, self._orders["nodes"])
        _apply(self._deployments, pending.deployments, self._orders["deployments"])
        for name, instance in pending.instances.items():
            self.groups.replace(self._instances.get(name), instance)
        _apply(self._instances, pending.instances, self._orders["instances"])
        _apply(self._profiles, pending.profiles)
        _apply(self._peaks, pending.peaks)
        _apply(self._backends, pending.backends)
        _apply(self._answers, pending.answers)
        for name, event in pending.events.items():
            old = self._events.pop(name, None)
            if event is not None:
                self._events[name] = event
            elif old is not None and self._latest_events.get(old.subject) == name:
                del self._latest_events[old.subject]
        self._latest_events.update(pending.latest_events)
        self._changes.extend(pending.changes)
        if pending.changes_since is not None:
            self.changes_since = pending.changes_since
            while self._changes and self._changes[0].revision <= pending.changes_since:
                self._changes.popleft()
        self.revision = pending.revision


def _apply(rows: dict[str, V], changed: Mapping[str, V | None], order: Order | None = None) -> None:
    if order is not None:
        order.touch(name for name, row in changed.items() if row is None or name not in rows)
    for name, row in changed.items():
        if row is None:
            rows.pop(name, None)
        else:
            rows[name] = row
