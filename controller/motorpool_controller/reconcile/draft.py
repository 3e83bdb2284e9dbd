"""The world as a decision changes it, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from motorpool_controller.domain.backends import declared_profiles, with_declared_claim
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Drain, Node, NodeState
from motorpool_controller.domain.pinning import facts_by_place, pinned
from motorpool_controller.domain.workload import Deployment, DeploymentSpec, Instance, InstanceState, ModelSource
from motorpool_controller.reconcile.moves import moved
from motorpool_controller.reconcile.world import Decision, Notice, World
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.snapshot import Reading, Request, Snapshot, suspecting

AT_ONCE = 200
"""Instances that one decision makes, and that it places: half a tenth of a second on a large fleet, after which others
have their turn. As many of both, so that an instance is written once, with its place."""

_Row = TypeVar("_Row", Node, Deployment, Instance)


class Draft:
    """Rows by full name, as they are to be; ``decision`` tells how they differ from the world's."""

    def __init__(self, world: World, now: datetime) -> None:
        self.world = world
        self.now = now
        self.nodes = dict(world.nodes)
        self.deployments = dict(world.deployments)
        self.instances = dict(world.instances)
        self.agenda = world.agenda
        self._look, self._concerned = self.agenda.look(world.changes, self.instances, self.deployments)
        self._concerned |= self.agenda.short
        self.room = AT_ONCE
        """How many instances may still be made."""
        self._look |= self.agenda.overdue(now - timedelta(seconds=world.settings.scheduled_deadline_seconds))
        self.agenda.look_at_nodes(world.changes, self.nodes)
        self.moving: dict[str, Drain] = {}
        """By what instances that stand are moved away (see ``drains``), by name."""
        self.unfinished = False
        """Whether instances are still to be tried, in the next decision."""
        self._touched: set[str] = set()
        self.questions: tuple[tuple[str, str], ...] = ()
        self.look_ups: tuple[ModelSource, ...] = ()
        self._events: list[Notice] = []
        self._wake_at: datetime | None = None
        self._wished: dict[str, DeploymentSpec] = {}

    def put(self, row: Node | Deployment | Instance) -> None:
        """Take a new or changed row."""
        self._touched.add(row.name)
        if isinstance(row, Node):
            self.nodes[row.name] = row
            self.agenda.roll.take(row.name, row)
        elif isinstance(row, Deployment):
            self.deployments[row.name] = row
            self._wished.pop(row.name, None)
        else:
            self.instances[row.name] = row
            self._concerned.add(row.deployment)
            self.agenda.take(row.name, row)

    def drop(self, row: Deployment | Instance) -> None:
        """Delete a row."""
        self._touched.add(row.name)
        if isinstance(row, Deployment):
            del self.deployments[row.name]
        else:
            del self.instances[row.name]
            self._concerned.add(row.deployment)
            self.agenda.take(row.name, None)

    def event(self, severity: Severity, reason: str, subject: str, message: str) -> None:
        """Record that something happened."""
        self._events.append(Notice(severity=severity, reason=reason, subject=subject, message=message))

    def wake(self, at: datetime) -> None:
        """Decide again at this time, or before."""
        self._wake_at = at if self._wake_at is None else min(self._wake_at, at)

    def of(self, deployment: str) -> list[Instance]:
        """Return a deployment's instances, by name."""
        return [instance for _, instance in sorted(self.agenda.groups.of_deployment(deployment).items())]

    def live(self, deployment: Deployment) -> list[Instance]:
        """Return a deployment's instances that are not being stopped, by name."""
        return [instance for instance in self.of(deployment.name) if not instance.leaves]

    def on(self, nodes: Iterable[str]) -> list[Instance]:
        """Return the instances placed on any of these nodes."""
        return list({name: row for node in nodes for name, row in self.agenda.groups.on_node(node).items()}.values())

    def looked_at(self) -> list[Instance]:
        """Return the instances that were touched or are not at rest, by name; those that merely wait are left out."""
        names = self._look | self._touched
        return [self.instances[name] for name in sorted(names) if name in self.instances]

    def concern(self, deployment: str) -> None:
        """Have a deployment looked at, though nothing of it was touched."""
        self._concerned.add(deployment)

    @property
    def concerned_names(self) -> AbstractSet[str]:
        """Names of the deployments of which something was touched, or that are gone."""
        return self._concerned

    def concerned(self) -> list[Deployment]:
        """Return the deployments of which something was touched, by name."""
        return [self.deployments[name] for name in sorted(self._concerned) if name in self.deployments]

    def lost_node(self, instance: Instance) -> Node | None:
        """Return the first node of an instance that counts as lost; None while all are there."""
        if instance.placement is None:
            return None
        nodes = (self.nodes.get(member.node) for member in instance.placement.members)
        return next((node for node in nodes if node is not None and node.state is NodeState.UNREACHABLE), None)

    def retire(self, instance: Instance, reason: str) -> None:
        """Have an instance removed that others stand in for: of one that serves, callers learn first that it leaves."""
        seconds = self.drain_seconds(instance)
        if instance.state is not InstanceState.RUNNING or not instance.endpoint or seconds <= 0:
            self.stop(instance, reason)
            return
        message = f"{reason} It gets no new requests, and stops in {seconds:g} s."
        leaving = replace(instance, drain_time=self.now, stop_reason=reason, endpoint="")
        self.put(moved(leaving, InstanceState.STOPPING, message, self.now))

    def drain_seconds(self, instance: Instance) -> float:
        """Return how long an instance goes on that left the endpoints: as its deployment says, else as settings do."""
        deployment = self.deployments.get(instance.deployment)
        own = None if deployment is None else deployment.spec.drain_seconds
        return self.world.settings.drain_seconds if own is None else own

    def stop(self, instance: Instance, reason: str) -> None:
        """Have an instance removed: at once if it was never placed, else by its node.

        A placed row stays until its node has confirmed (P3).
        """
        if instance.placement is None:
            self.drop(instance)
            return
        stopping = replace(instance, stop_time=self.now, stop_reason=reason, endpoint="")
        if self.lost_node(instance) is None:
            stopping = moved(stopping, InstanceState.STOPPING, reason, self.now)
        self.put(stopping)

    def snapshot(self) -> tuple[Snapshot, Columns]:
        """Return what scheduling reads, and its columns: those that are kept, brought up to it."""
        snapshot = Snapshot(
            nodes=suspecting(self.nodes, self.world.suspect),
            profiles=self.world.profiles,
            instances=self.instances,
            usage=self.world.usage,
            readings=self.world.readings,
            peaks=self.world.peaks,
            declared=declared_profiles(self.world.declared),
            hub_models={place: Reading(facts=facts) for place, facts in facts_by_place(self._on_hubs()).items()},
            files=self.world.files,
        )
        self.agenda.follow(snapshot, frozenset(self._touched))
        return snapshot, self.agenda.columns

    def _on_hubs(self) -> list[Deployment]:
        return [deployment for deployment in self.deployments.values() if deployment.hub_models]

    def request(self, instance: Instance, deployment: Deployment) -> Request:
        """Return what scheduling is asked for an instance: the deployment's spec, with the claims of its backend."""
        if deployment.name not in self._wished:
            # Once: what scheduling finds out about a spec it keeps for this very object.
            spec = pinned(deployment, deployment.spec)
            self._wished[deployment.name] = with_declared_claim(spec, deployment.facts, self.world.declared)
        return Request(name=instance.name, deployment=deployment.name, spec=self._wished[deployment.name])

    def decision(self) -> Decision:
        """Return how the rows differ from the world's."""
        touched = sorted(self._touched)
        return Decision(
            put_instances=_changed(self.world.instances, self.instances, touched),
            delete_instances=_missing(self.world.instances, self.instances, touched),
            put_deployments=_changed(self.world.deployments, self.deployments, touched),
            delete_deployments=_missing(self.world.deployments, self.deployments, touched),
            put_nodes=_changed(self.world.nodes, self.nodes, touched),
            events=tuple(self._events),
            questions=self.questions,
            look_ups=self.look_ups,
            wake_at=self._wake_at,
        )


def _changed(before: Mapping[str, _Row], after: Mapping[str, _Row], touched: Iterable[str]) -> tuple[_Row, ...]:
    return tuple(after[name] for name in touched if name in after and before.get(name) != after[name])


def _missing(before: Mapping[str, _Row], after: Mapping[str, _Row], touched: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in touched if name in before and name not in after)
