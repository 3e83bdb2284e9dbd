"""What one session's agent observed, and how it is recorded. A broken object costs that object, never the session."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from motorpool import v1
from motorpool_controller.domain.conditions import Condition
from motorpool_controller.domain.errors import (
    ConflictError,
    InvalidError,
    TooLargeError,
    UnauthenticatedError,
)
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Device, Executor, Node, NodeUsage, Plugin, Profile
from motorpool_controller.domain.names import shown
from motorpool_controller.domain.workload import Instance
from motorpool_controller.estimation.measured import grown
from motorpool_controller.reconcile.observe import happened, observe
from motorpool_controller.reconcile.world import Report
from motorpool_controller.scheduling.snapshot import Reading
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.backend import profile_digest, profile_of
from motorpool_controller.services.convert.device import device_of
from motorpool_controller.services.convert.facts import facts_of
from motorpool_controller.services.convert.files import files_of
from motorpool_controller.services.convert.instance import report_of
from motorpool_controller.services.convert.node import condition_of, executor_of, plugin_of
from motorpool_controller.store.files import Deleted, ModelFiles
from motorpool_controller.store.transaction import Transaction

MAX_OBJECTS = 10_000
MAX_PEAKS = 5_000
_SHOWN_FAULTS = 20
_Facts = dict[str, Device] | dict[str, Plugin] | dict[str, Profile] | dict[str, Executor] | dict[str, Condition]


@dataclass(slots=True)
class Changed:
    """What one message changed."""

    facts: bool = False
    reports: list[tuple[Report, str]] = field(default_factory=list)
    """Each with the name that the agent knows the instance by."""
    answers: list[tuple[str, Reading]] = field(default_factory=list)
    deleted: list[tuple[str, Deleted]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    """Assignments that are no longer there."""


class Observed:
    """Everything the agent has shown in this session. Deltas count after the first full state only."""

    def __init__(self) -> None:
        self.complete = False
        self.instances: set[str] = set()
        """Assignments of which the agent has something."""
        self.reports: dict[str, Report] = {}
        """What it says of them, where that can be read."""
        self.strays: set[str] = set()
        """Those that are not placed there, of which people were told: once, however often what they do changes."""
        self.devices: dict[str, Device] = {}
        self.plugins: dict[str, Plugin] = {}
        self.profiles: dict[str, Profile] = {}
        self.executors: dict[str, Executor] = {}
        self.conditions: dict[str, Condition] = {}
        self.files: dict[str, ModelFiles] = {}
        self._digests: dict[str, str] = {}
        self._digest = ""
        """Over all of them; empty while it is not known."""
        self._takers: Mapping[str, Callable[[str, v1.ObservedObject, Changed], None]] = {
            "device": self._take_device,
            "plugin": self._take_plugin,
            "profile": self._take_profile,
            "instance": self._take_instance,
            "answer": self._take_answer,
            "executor": self._take_executor,
            "condition": self._take_condition,
            "files": self._take_files,
        }

    @property
    def digest(self) -> str:
        """The digest over all objects, as heartbeats carry it."""
        if not self._digest:
            lines = "".join(f"{name} {self._digests[name]}\n" for name in sorted(self._digests))
            self._digest = hashlib.sha256(lines.encode()).hexdigest()
        return self._digest

    def take(self, message: v1.ObservedState) -> Changed:
        """Take in a message, and return what it changed."""
        changed = Changed()
        self._digest = ""
        if message.full:
            self.complete = True
            changed.facts = True
            self._digests.clear()
            self.devices.clear()
            self.plugins.clear()
            self.profiles.clear()
            self.executors.clear()
            self.conditions.clear()
            self.files.clear()
            self.instances.clear()
            self.reports.clear()
        for name in message.removed:
            self._drop(name, changed)
        for item in message.objects:
            self._take(item, changed)
        if len(self._digests) > MAX_OBJECTS:
            raise TooLargeError(
                "TOO_LARGE",
                f"the agent shows more than {MAX_OBJECTS} objects; restart it, and report this if it comes back",
            )
        return changed

    def _take(self, item: v1.ObservedObject, changed: Changed) -> None:
        # Before anything can fail: both sides' digests are to agree on a broken object, too.
        self._digests[item.id] = item.digest
        kind, _, identifier = item.id.partition("/")
        body = item.WhichOneof("body")
        try:
            if body is None or body != kind or not identifier:
                raise fields.invalid("id", f"{shown(item.id)} does not go with a body of kind {body}")
            self._takers[kind](identifier, item, changed)
        except InvalidError as error:
            self._discard(kind, identifier, changed)
            changed.faults.append(f"{shown(item.id)}: {error.message}")

    def _take_device(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        device = device_of(item.device)
        _same("device.device_id", device.device_id, identifier)
        self.devices[identifier] = device
        changed.facts = True

    def _take_plugin(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        plugin = plugin_of(item.plugin)
        _same("plugin.plugin_id", plugin.plugin_id, identifier)
        self.plugins[identifier] = plugin
        changed.facts = True

    def _take_profile(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        profile = profile_of(item.profile)
        _same("profile.backend", profile.backend, identifier)
        self.profiles[identifier] = profile
        changed.facts = True

    def _take_executor(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        executor = executor_of(item.executor)
        _same("executor.executor", executor.executor, identifier)
        self.executors[identifier] = executor
        changed.facts = True

    def _take_condition(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        condition = condition_of(item.condition)
        _same("condition.condition", condition.condition, identifier)
        self.conditions[identifier] = condition
        changed.facts = True

    def _take_instance(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        # There is something of it, whatever it is: a report that cannot be read proves no absence.
        self.instances.add(identifier)
        report = report_of(item.instance)
        _same("instance.assignment_id", report.assignment_id, identifier)
        self.reports[identifier] = report
        changed.reports.append((report, item.instance.instance))

    def _take_files(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:  # a taker
        self.files[identifier] = files_of(identifier, item.files, "files")

    def _take_answer(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        answer = item.answer
        _same("answer.query_id", answer.query_id, identifier)
        reason, message = fields.text(answer.error_reason), fields.text(answer.error_message)
        freed = fields.size(answer.freed_bytes, "answer.freed_bytes")
        changed.deleted.append((identifier, Deleted(freed_bytes=freed, error_reason=reason, error_message=message)))
        if answer.HasField("freed_bytes"):
            return
        if answer.error_reason:
            reading = Reading(
                error_reason=fields.name(answer.error_reason, "answer.error_reason"),
                error_message=fields.text(answer.error_message),
            )
        elif answer.HasField("facts"):
            reading = Reading(facts=facts_of(answer.facts, "answer.facts"))
        else:
            raise fields.invalid("answer", "it has neither facts nor a reason why there are none")
        changed.answers.append((identifier, reading))

    def _drop(self, name: str, changed: Changed) -> None:
        if self._digests.pop(name, None) is None:
            return
        kind, _, identifier = name.partition("/")
        self._discard(kind, identifier, changed)
        if kind == "instance":
            self.instances.discard(identifier)
            self.reports.pop(identifier, None)
            self.strays.discard(identifier)
            changed.removed.append(identifier)

    def _discard(self, kind: str, identifier: str, changed: Changed) -> None:
        facts: Mapping[str, _Facts] = {
            "device": self.devices,
            "plugin": self.plugins,
            "profile": self.profiles,
            "executor": self.executors,
            "condition": self.conditions,
        }
        if kind == "files":
            self.files.pop(identifier, None)
        if kind in facts and facts[kind].pop(identifier, None) is not None:
            changed.facts = True


def in_session(tx: Transaction, node: str, uid: str, epoch: int) -> Node:
    """Return the node of a session that may still write."""
    row = tx.nodes.get(node)
    if row is None or row.uid != uid:
        raise revoked(node)
    if row.session_epoch != epoch:
        raise ConflictError(
            "STALE_EPOCH",
            f"session {epoch} of {node} was replaced by session {row.session_epoch}; open a new session",
        )
    return row


def revoked(node: str) -> UnauthenticatedError:
    """Return the error of a session whose node was deleted."""
    return UnauthenticatedError(
        "CERTIFICATE_REVOKED",
        f"{node} was deleted; enrol the machine again with a join token (`motorpool-controller token join`)",
    )


def record(tx: Transaction, node: Node, observed: Observed, changed: Changed) -> None:
    """Write down what changed; what is as it was costs nothing."""
    if changed.facts:
        before, node = node, tx.nodes.put(_with_facts(tx, node, observed))
        _tell_conditions(tx, before, node)
    for report, name in changed.reports:
        instance = _instance(tx, report.assignment_id, name)
        if instance is None or not _runs_on(instance, node.name):
            if report.assignment_id in observed.strays:
                continue
            observed.strays.add(report.assignment_id)
            tx.event(
                Severity.WARNING,
                "ASSIGNMENT_UNKNOWN",
                node.name,
                f"{node.name} has something of assignment {report.assignment_id} ({shown(name)}, pid {report.pid}) "
                "that is not placed there; it is left alone: `motorpool instances --strays` shows it, `adopt` "
                "makes it its deployment's, and `release` ends it",
            )
            continue
        observed.strays.discard(report.assignment_id)
        seen = observe(instance, report, node, tx.now)
        if seen is not instance:
            tx.instances.put(seen)
            event = happened(instance, seen)
            if event is not None:
                tx.event(event.severity, event.reason, event.subject, event.message)
    if changed.faults:
        rest = len(changed.faults) - _SHOWN_FAULTS
        tx.event(
            Severity.WARNING,
            "OBSERVED_INVALID",
            node.name,
            "the agent reported what cannot be read, and that alone was passed over: "
            + "; ".join(changed.faults[:_SHOWN_FAULTS])
            + (f"; and {rest} more" if rest > 0 else ""),
        )


def keep_peaks(tx: Transaction, node: Node, usage: NodeUsage) -> None:
    """Keep the peaks that a measurement raised, and forget the oldest where there are too many."""
    for peak in grown(node, usage, tx.instances, tx.peaks, tx.now):
        tx.peaks.put(peak)
    surplus = len(tx.peaks) - MAX_PEAKS
    if surplus > 0:
        for name, _ in sorted(tx.peaks.items(), key=lambda item: (item[1].time, item[0]))[:surplus]:
            tx.peaks.delete(name)


def _with_facts(tx: Transaction, node: Node, observed: Observed) -> Node:
    profiles: dict[str, str] = {}
    for backend, profile in sorted(observed.profiles.items()):
        digest = profile_digest(profile)
        profiles[backend] = digest
        if digest not in tx.profiles:
            tx.profiles.put(digest, profile)
    return replace(
        node,
        devices=tuple(
            replace(device, cordoned=name in node.cordoned_devices) for name, device in sorted(observed.devices.items())
        ),
        plugins=tuple(plugin for _, plugin in sorted(observed.plugins.items())),
        profiles=profiles,
        executors=tuple(executor for _, executor in sorted(observed.executors.items())),
        conditions=tuple(condition for _, condition in sorted(observed.conditions.items())),
    )


def _tell_conditions(tx: Transaction, before: Node, after: Node) -> None:
    """Say what a node began to run short of, and what it has enough of again."""
    known = {each.condition for each in before.conditions if each.pressed}
    for each in after.conditions:
        if each.pressed and each.condition not in known:
            message = f"{after.name} runs short of {each.condition}: {each.message}"
            tx.event(Severity.WARNING, "NODE_PRESSED", after.name, message)
        elif each.condition in known and not each.pressed:
            message = f"{after.name} has enough {each.condition} again."
            tx.event(Severity.INFO, "NODE_EASED", after.name, message)


def _instance(tx: Transaction, uid: str, name: str) -> Instance | None:
    named = tx.instances.get(name)
    if named is not None and named.uid == uid:
        return named
    return next((instance for instance in tx.instances.values() if instance.uid == uid), None)


def _runs_on(instance: Instance, node: str) -> bool:
    return instance.placement is not None and any(member.node == node for member in instance.placement.members)


def _same(path: str, value: str, identifier: str) -> None:
    if value != identifier:
        raise fields.invalid(path, f"{shown(value)} is not the {shown(identifier)} of its object's id")
