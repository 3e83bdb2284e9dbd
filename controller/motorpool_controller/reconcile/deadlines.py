"""What is due: states that lasted longer than they may (see moves.py)."""

from __future__ import annotations

from datetime import datetime, timedelta

from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.workload import Instance, InstanceState
from motorpool_controller.reconcile.draft import Draft
from motorpool_controller.reconcile.moves import moved
from motorpool_controller.reconcile.observe import happened

DEFAULT_GRACE_SECONDS = 30.0


def settle_deadlines(draft: Draft) -> None:
    """End states that are overdue, or say that they are."""
    settings = draft.world.settings
    for instance in draft.looked_at():
        if instance.state is InstanceState.SCHEDULED:
            _schedule_due(draft, instance, settings.scheduled_deadline_seconds)
        elif instance.drain_time is not None and instance.stop_time is None:
            _drain_due(draft, instance, instance.drain_time + timedelta(seconds=draft.drain_seconds(instance)))
        elif instance.state is InstanceState.STOPPING and instance.stop_time is not None:
            _stop_due(draft, instance, _grace_seconds(draft, instance) + settings.stopping_slack_seconds)
    told = draft.agenda.told_first()
    due = None if told is None else told + timedelta(seconds=settings.scheduled_deadline_seconds)
    if due is not None and due > draft.now:
        draft.wake(due)


def _schedule_due(draft: Draft, instance: Instance, seconds: float) -> None:
    due = instance.state_time + timedelta(seconds=seconds)
    if due > draft.now:
        return
    waiting = [member.node for member in instance.gang.members if not member.ports] if instance.gang else []
    node, what = (waiting[0], "reserved what it needs") if waiting else (_node(instance), "begun to run it")
    failed = moved(
        instance,
        InstanceState.ERROR,
        f"{node} has not {what} within {seconds:.0f} s; it is still told to. Look at the log of its agent.",
        draft.now,
    )
    draft.put(failed)
    notice = happened(instance, failed)
    if notice is not None:
        draft.event(notice.severity, notice.reason, notice.subject, notice.message)


def _drain_due(draft: Draft, instance: Instance, due: datetime) -> None:
    if due > draft.now:
        draft.wake(due)
    else:
        draft.stop(instance, instance.stop_reason)


def _stop_due(draft: Draft, instance: Instance, seconds: float) -> None:
    told = instance.state_time
    if instance.drain_time is not None and instance.stop_time is not None:
        told = max(told, instance.stop_time)  # it was stopping, in a way, since before
    due = told + timedelta(seconds=seconds)
    if due > draft.now:
        draft.wake(due)
        return
    message = (
        f"{_node(instance)} has not confirmed within {seconds:.0f} s that it stopped; its claim is kept until it does."
        " Look at the log of its agent."
    )
    if message != instance.state_message:
        draft.put(moved(instance, InstanceState.STOPPING, message, draft.now))
        draft.event(Severity.WARNING, "STOP_OVERDUE", instance.name, f"{instance.name}: {message}")


def _grace_seconds(draft: Draft, instance: Instance) -> float:
    node = draft.nodes.get(_node(instance))
    if node is None or instance.assignment is None:
        return DEFAULT_GRACE_SECONDS
    if instance.assignment.definition is not None:
        return instance.assignment.definition.stop_grace_seconds
    profile = draft.world.profiles.get(node.profiles.get(instance.assignment.backend, ""))
    return DEFAULT_GRACE_SECONDS if profile is None else profile.stop_grace_seconds


def _node(instance: Instance) -> str:
    return "" if instance.placement is None else instance.placement.members[0].node
