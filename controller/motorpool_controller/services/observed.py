"""What one session's agent observed, and how it is recorded. A broken object costs that object, never the session."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from motorpool import v1
from motorpool_controller.domain.errors import (
    ConflictError,
    InvalidError,
    TooLargeError,
    UnauthenticatedError,
)
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Node, NodeUsage
from motorpool_controller.domain.names import shown
from motorpool_controller.domain.workload import Instance
from motorpool_controller.estimation.measured import grown
from motorpool_controller.reconcile.observe import happened, observe
from motorpool_controller.reconcile.world import Report
from motorpool_controller.scheduling.snapshot import Reading
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.backend import known_profile
from motorpool_controller.services.convert.device import device_of
from motorpool_controller.services.convert.facts import known_facts
from motorpool_controller.services.convert.files import files_of
from motorpool_controller.services.convert.instance import report_of
from motorpool_controller.services.convert.node import condition_of, executor_of, plugin_of
from motorpool_controller.services.machine_facts import MachineFacts, with_facts
from motorpool_controller.store.files import Deleted, ModelFiles
from motorpool_controller.store.transaction import Transaction

MAX_OBJECTS = 10_000
MAX_PEAKS = 5_000
_SHOWN_FAULTS = 20
_NONE: frozenset[str] = frozenset()


@dataclass(slots=True)
class Changed:
    """What one message changed."""

    facts: MachineFacts = field(default_factory=MachineFacts)
    reports: list[tuple[Report, str]] = field(default_factory=list)
    """Each with the name that the agent knows the instance by."""
    answers: list[tuple[str, Reading]] = field(default_factory=list)
    deleted: list[tuple[str, Deleted]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    """Assignments that are no longer there."""


class Observed:
    """What the agent has shown in this session. Deltas count after the first full state only.

    Facts of the machine are kept in the node's row and nowhere else: of a fleet they are most of what there is.
    """

    def __init__(self) -> None:
        self.complete = False
        self._instances: dict[str, Report | None] = {}
        """Assignments of which the agent has something, and what it says of them, where that can be read."""
        self.strays = _NONE
        """Those that are not placed there, of which people were told: once, however often what they do changes."""
        self.files: dict[str, ModelFiles] = {}
        self._digests: dict[str, str] = {}
        self._digest = ""
        """Over all of them; empty while it is not known."""

    @property
    def instances(self) -> AbstractSet[str]:
        """Assignments of which the agent has something."""
        return self._instances.keys()

    @property
    def reports(self) -> tuple[Report, ...]:
        """What it says of them, where that can be read."""
        return tuple(report for report in self._instances.values() if report is not None)

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
            changed.facts.whole = True
            self._digests.clear()
            self.files.clear()
            self._instances.clear()
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
            _TAKERS[kind](self, identifier, item, changed)
        except InvalidError as error:
            self._discard(kind, identifier, changed)
            changed.faults.append(f"{shown(item.id)}: {error.message}")

    def _take_device(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        device = device_of(item.device)
        _same("device.device_id", device.device_id, identifier)
        changed.facts.devices[identifier] = device

    def _take_plugin(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        plugin = plugin_of(item.plugin)
        _same("plugin.plugin_id", plugin.plugin_id, identifier)
        changed.facts.plugins[identifier] = plugin

    def _take_profile(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        profile = known_profile(item.profile)
        _same("profile.backend", profile.profile.backend, identifier)
        changed.facts.profiles[identifier] = profile

    def _take_executor(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        executor = executor_of(item.executor)
        _same("executor.executor", executor.executor, identifier)
        changed.facts.executors[identifier] = executor

    def _take_condition(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        condition = condition_of(item.condition)
        _same("condition.condition", condition.condition, identifier)
        changed.facts.conditions[identifier] = condition

    def _take_instance(self, identifier: str, item: v1.ObservedObject, changed: Changed) -> None:
        # There is something of it, whatever it is: a report that cannot be read proves no absence.
        self._instances.setdefault(identifier, None)
        report = report_of(item.instance)
        _same("instance.assignment_id", report.assignment_id, identifier)
        self._instances[identifier] = report
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
            reading = Reading(facts=known_facts(answer.facts))
        else:
            raise fields.invalid("answer", "it has neither facts nor a reason why there are none")
        changed.answers.append((identifier, reading))

    def _drop(self, name: str, changed: Changed) -> None:
        if self._digests.pop(name, None) is None:
            return
        kind, _, identifier = name.partition("/")
        self._discard(kind, identifier, changed)
        if kind == "instance":
            self._instances.pop(identifier, None)
            self.strays -= {identifier}
            changed.removed.append(identifier)

    def _discard(self, kind: str, identifier: str, changed: Changed) -> None:
        if kind == "files":
            self.files.pop(identifier, None)
        changed.facts.forget(kind, identifier)


_TAKERS: Mapping[str, Callable[[Observed, str, v1.ObservedObject, Changed], None]] = {
    "device": Observed._take_device,  # noqa: SLF001  # they are its own
    "plugin": Observed._take_plugin,  # noqa: SLF001
    "profile": Observed._take_profile,  # noqa: SLF001
    "instance": Observed._take_instance,  # noqa: SLF001
    "answer": Observed._take_answer,  # noqa: SLF001
    "executor": Observed._take_executor,  # noqa: SLF001
    "condition": Observed._take_condition,  # noqa: SLF001
    "files": Observed._take_files,  # noqa: SLF001
}


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
    if changed.facts.told:
        before, node = node, tx.nodes.put(with_facts(tx, node, changed.facts))
        _tell_conditions(tx, before, node)
    for report, name in changed.reports:
        instance = _instance(tx, report.assignment_id, name)
        if instance is None or not _runs_on(instance, node.name):
            if report.assignment_id in observed.strays:
                continue
            observed.strays |= {report.assignment_id}
            tx.event(
                Severity.WARNING,
                "ASSIGNMENT_UNKNOWN",
                node.name,
                f"{node.name} has something of assignment {report.assignment_id} ({shown(name)}, pid {report.pid}) "
                "that is not placed there; it is left alone: `motorpool instances --strays` shows it, `adopt` "
                "makes it its deployment's, and `release` ends it",
            )
            continue
        if report.assignment_id in observed.strays:
            observed.strays -= {report.assignment_id}
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
