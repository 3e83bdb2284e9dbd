"""What a change may read and write."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from motorpool_controller.domain.event import Event, Severity
from motorpool_controller.domain.fleet import Node
from motorpool_controller.domain.groups import nodes_of
from motorpool_controller.domain.workload import Instance
from motorpool_controller.store.pending import Change, Pending, TokenUse
from motorpool_controller.store.rows import AnswerRows, PeakRows, ProfileRows, Rows
from motorpool_controller.store.view import View


class Transaction:
    """One change in the making: rows of every kind, as they are committed or about to be, and the time."""

    def __init__(self, view: View, pending: Pending, now: datetime, *, alone: bool) -> None:
        self.now = now
        self.cluster_id = view.cluster_id
        self.controller_epoch = view.controller_epoch
        self.revision = pending.revision + 1
        """The revision of this change, if it changes anything."""
        self.nodes = Rows(view.nodes, pending.nodes, self.revision)
        self.deployments = Rows(view.deployments, pending.deployments, self.revision)
        self.instances = Rows(view.instances, pending.instances, self.revision)
        self.profiles = ProfileRows(view.profiles, pending.profiles)
        self.peaks = PeakRows(view.peaks, pending.peaks)
        self.backends = Rows(view.backends, pending.backends, self.revision)
        self.events = Rows(view.events, pending.events, self.revision)
        self.answers = AnswerRows(view.answers, pending.answers)
        self._view = view
        self._pending = pending
        self._alone = alone
        self._latest_events: dict[str, str] = {}
        self._new_events = 0
        self._token_uses: list[TokenUse] = []

    @property
    def offering(self) -> tuple[str, int] | None:
        """The view's value; None where this change or an earlier one of the batch makes another."""
        untouched = self.nodes.untouched and self.profiles.untouched and self.backends.untouched
        return self._view.offering if untouched else None

    def instances_of(self, deployment: str) -> dict[str, Instance]:
        """Return a deployment's instances by name."""
        committed = self._view.groups.of_deployment(deployment)
        return self.instances.among(committed, lambda instance: instance.deployment == deployment)

    def instances_on(self, node: str) -> dict[str, Instance]:
        """Return the instances placed on a node by name."""
        committed = self._view.groups.on_node(node)
        return self.instances.among(committed, lambda instance: node in nodes_of(instance))

    def event(self, severity: Severity, reason: str, subject: str, message: str) -> Event:
        """Tell people what happened. The same again about the same subject, nothing between, is counted."""
        latest = self._latest_event(subject)
        told = (severity, reason, message)
        if latest is not None and (latest.severity, latest.reason, latest.message) == told:
            return self.events.put(
                Event(
                    name=latest.name,
                    time=self.now,
                    first_time=latest.first_time,
                    severity=severity,
                    reason=reason,
                    subject=subject,
                    message=message,
                    count=latest.count + 1,
                )
            )
        # Sorts by revision, then by place within it.
        name = f"events/{self.revision}-{self._new_events:04}"
        self._new_events += 1
        self._latest_events[subject] = name
        return self.events.put(
            Event(
                name=name,
                time=self.now,
                first_time=self.now,
                severity=severity,
                reason=reason,
                subject=subject,
                message=message,
            )
        )

    def use_token(self, token_id: str, node_uid: str) -> None:
        """Count a use of a join token for a node; the whole change fails if the token has none left."""
        if not self._alone:
            raise RuntimeError("a change that uses a token must be committed with alone=True")
        self._token_uses.append(TokenUse(token_id, node_uid))

    def finish(self) -> bool:
        """Hand what changed to the batch; return whether anything did."""
        pending = self._pending
        nodes = self.nodes.changed()
        for digest in self._unused_profiles(nodes):
            self.profiles.delete(digest)
        deployments = self.deployments.changed()
        instances = self.instances.changed()
        profiles = self.profiles.changed()
        backends = self.backends.changed()
        events = self.events.changed()
        answers = self.answers.changed()
        peaks = self.peaks.changed()
        changed: dict[str, Mapping[str, object | None]] = {
            "profiles": profiles,
            "backends": backends,
            "nodes": nodes,
            "deployments": deployments,
            "instances": instances,
            "events": events,
        }
        changes = [
            Change(self.revision, kind, name, deleted=row is None)
            for kind, rows in changed.items()
            for name, row in rows.items()
        ]
        if not changes and not answers and not peaks and not self._token_uses:
            return False
        pending.nodes.update(nodes)
        pending.deployments.update(deployments)
        pending.instances.update(instances)
        pending.profiles.update(profiles)
        pending.backends.update(backends)
        for name, event in events.items():
            # An event that is counted again moves to the end.
            pending.events.pop(name, None)
            pending.events[name] = event
        pending.answers.update(answers)
        pending.peaks.update(peaks)
        pending.latest_events.update(self._latest_events)
        pending.changes.extend(changes)
        pending.token_uses.extend(self._token_uses)
        pending.revision = self.revision
        return True

    def _unused_profiles(self, nodes: Mapping[str, Node | None]) -> set[str]:
        """Return the profiles that changed nodes had, and no node has any more."""
        dropped: set[str] = set()
        for name, node in nodes.items():
            before = self.nodes.before(name)
            if before is not None and (node is None or node.profiles != before.profiles):
                dropped |= set(before.profiles.values()) - set({} if node is None else node.profiles.values())
        return {
            digest for digest in dropped if not any(digest in node.profiles.values() for node in self.nodes.values())
        }

    def _latest_event(self, subject: str) -> Event | None:
        for latest in (self._latest_events, self._pending.latest_events, self._view.latest_events):
            if subject in latest:
                return self.events.get(latest[subject])
        return None
