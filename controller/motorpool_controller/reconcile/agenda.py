"""What decisions keep from one to the next: what is not at rest, and what was looked up for it.

A decision looks at what was touched since the one before and at what is not at rest; the rest of the fleet is as it was
left. Where nobody tells what was touched, it looks at everything. Nothing but time depends on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from motorpool_controller.domain.fleet import Node
from motorpool_controller.domain.groups import Groups
from motorpool_controller.domain.workload import DeploymentSpec, Instance, InstanceState
from motorpool_controller.reconcile.expected import Expected
from motorpool_controller.reconcile.roll import Roll
from motorpool_controller.reconcile.waiting import Waiting
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.snapshot import Snapshot, Touched

_AT_REST = frozenset(
    {
        *(InstanceState.SCHEDULED, InstanceState.DOWNLOADING, InstanceState.STARTING, InstanceState.RUNNING),
        *(InstanceState.ERROR, InstanceState.QUARANTINED),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What may have changed since the decision before. ``leases``: a session began, or a lease may have run out."""

    rows: Touched = field(default_factory=Touched)
    deployments: frozenset[str] = frozenset()
    leases: bool = True

    @property
    def nodes_due(self) -> bool:
        """Whether nodes are to be looked at: their rows, sessions or leases."""
        return self.leases or bool(self.rows.nodes)


@dataclass(frozen=True, slots=True)
class Tried:
    """A request that fitted nowhere: the columns' state then, its spec, and the questions that were open."""

    state: int
    spec: DeploymentSpec
    questions: tuple[tuple[str, str], ...]


class Agenda:
    """Instances by deployment and node, those that are not at rest, and requests that fitted nowhere, by name."""

    def __init__(self) -> None:
        self.columns = Columns()
        self.groups = Groups()
        self.tried: dict[str, Tried] = {}
        self.tried_without: dict[str, Tried] = {}
        """Requests that fitted nowhere even had an instance been gone; ``questions`` then names it."""
        self.roll = Roll()
        self.waiting = Waiting()
        self.unread: set[str] = set()
        """Deployments with waiting instances of which something on a hub is not known yet."""
        self.short: set[str] = set()
        """Deployments of which the decision before could not make as many instances as they wish for."""
        self.made_of: set[str] = set()
        """Those of which it made any."""
        self._rows: dict[str, Instance] = {}
        self._moving: set[str] = set()
        self._expected = Expected()
        self._owed: Touched | None = None
        self.begun = False
        """Whether it looked at everything once: before that, what changed tells nothing."""

    def follow(self, snapshot: Snapshot, touched: frozenset[str]) -> None:
        """Bring the columns up to a snapshot, in which rows of these names may differ from the world's."""
        owed = self._owed
        if owed is not None:
            owed = replace(owed, nodes=owed.nodes | touched, instances=owed.instances | touched)
        self.columns.follow(snapshot, owed)
        self._owed = Touched()

    def look(
        self, changes: Changes | None, instances: Mapping[str, Instance], deployments: Collection[str]
    ) -> tuple[set[str], set[str]]:
        """Take what changed, and return the instances and the deployments to be looked at."""
        if changes is None:
            self.groups, self.tried, self.tried_without, self._owed, self.begun = Groups(), {}, {}, None, True
            self._rows, self._moving, self._expected, self.waiting, self.unread = (
                {},
                set(),
                Expected(),
                Waiting(),
                set(),
            )
            self.short, self.made_of = set(), set()
            for instance in instances.values():
                self.take(instance.name, instance)
            return set(instances), set(deployments)
        if self._owed is not None:
            self._owed = _both(self._owed, changes.rows)
        concerned = set(changes.deployments)
        for name in changes.rows.instances:
            for row in (self._rows.get(name), instances.get(name)):
                if row is not None:
                    concerned.add(row.deployment)
            self.take(name, instances.get(name))
        for name in changes.deployments:
            self.try_again(name)
        return {*changes.rows.instances, *self._moving}, concerned

    def look_at_nodes(self, changes: Changes | None, nodes: Mapping[str, Node]) -> None:
        """Take nodes that changed."""
        if changes is None:
            self.roll = Roll()
        for name in nodes if changes is None else changes.rows.nodes:
            self.roll.take(name, nodes.get(name))

    def take(self, name: str, instance: Instance | None) -> None:
        """Take an instance as it now is; None if it is gone."""
        self.groups.replace(self._rows.get(name), instance)
        self._expected.take(name, instance)
        self.waiting.take(name, instance)
        if instance is None:
            self._rows.pop(name, None)
            self._moving.discard(name)
            self._forget(name)
            return
        self._rows[name] = instance
        if instance.placement is not None:
            self._forget(name)
        if _at_rest(instance) or _only_waits(instance):
            self._moving.discard(name)
        else:
            self._moving.add(name)

    def overdue(self, since: datetime) -> set[str]:
        """Return the instances whose nodes were told to run them at this time or before, and have not begun."""
        return self._expected.until(since)

    def told_first(self) -> datetime | None:
        """Return when the first of the nodes was told that has not begun to run an instance."""
        return self._expected.first()

    def restate(self, state: int) -> None:
        """Let what was tried in a state of the columns stand: they were elsewhere meanwhile, and are as they were."""
        for name, tried in self.tried.items():
            if tried.state == state:
                self.tried[name] = replace(tried, state=self.columns.state)

    def is_refused(self, request: str, spec: DeploymentSpec) -> bool:
        """Return whether a request was tried with this spec and nothing has changed since that could let it fit."""
        tried = self.tried.get(request)
        if tried is None or tried.state != self.columns.state:
            return False
        return tried.spec is spec or tried.spec == spec

    def try_again(self, deployment: str) -> None:
        """Forget what a deployment's instances were refused for: it is another one."""
        for request in self.groups.of_deployment(deployment) if self.tried else ():
            self.tried.pop(request, None)

    def _forget(self, name: str) -> None:
        self.tried.pop(name, None)
        self.tried_without.pop(name, None)

    def questions(self) -> set[tuple[str, str]]:
        """Return the questions that were open when those requests were tried that are refused as they were."""
        state = self.columns.state
        # Requests that were tried together have one tuple.
        open_ones = {id(tried.questions): tried.questions for tried in self.tried.values() if tried.state == state}
        return set().union(*open_ones.values())


def _both(one: Touched, other: Touched) -> Touched:
    return Touched(
        nodes=one.nodes | other.nodes,
        instances=one.instances | other.instances,
        usage=one.usage | other.usage,
        readings=one.readings | other.readings,
    )


def _at_rest(instance: Instance) -> bool:
    gang = instance.gang
    if gang is not None and (gang.reserving or instance.restart_count):
        return False
    told = instance.stop_time is not None or instance.drain is not None
    return instance.placement is not None and not told and instance.state in _AT_REST


def _only_waits(instance: Instance) -> bool:
    """Return whether nothing may become of an instance but that it is placed: it stands in ``waiting``."""
    told = instance.stop_time is not None or instance.drain is not None or instance.drain_time is not None
    unplaced = instance.placement is None and instance.gang is None
    return unplaced and not told and instance.state is InstanceState.PENDING
