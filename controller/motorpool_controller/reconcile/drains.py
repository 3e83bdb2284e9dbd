"""Instances that operators have moved away: which they are, when they go at the latest, and when none is left.

Who stands in for them is made, and ready, before they go: ``replicas.py`` sees to that, one by one of each deployment.
Without a place for it they stay, and go at the drain's deadline, if it has one. One that failed serves nobody and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Drain, Node
from motorpool_controller.domain.maintenance import (
    concerns,
    drain_of,
    drains_on,
    subject_of,
    why_drained,
    with_drain,
)
from motorpool_controller.domain.rollouts import is_ready
from motorpool_controller.domain.workload import Instance, InstanceState
from motorpool_controller.reconcile.draft import Draft


def settle_drains(draft: Draft) -> None:
    """Find what is to be moved away, stop what may not wait longer, and say when a node or device is empty."""
    touched = () if draft.world.changes is None else draft.world.changes.rows.nodes
    for instance in draft.on(touched):
        draft.concern(instance.deployment)  # a drain that was taken back leaves one too many
    draining = [draft.nodes[name] for name in sorted(draft.agenda.roll.draining) if name in draft.nodes]
    there = {each.name: each for each in draft.on(node.name for node in draining)}
    there |= {each.name: each for each in draft.looked_at() if each.drain is not None}
    for _, instance in sorted(there.items()):
        drain = None if instance.leaves else drain_of(instance, draft.nodes)
        if drain is not None:
            _move(draft, instance, drain)
    for node in draining:
        _complete(draft, node)


def move_reason(drain: Drain) -> str:
    """Return why an instance is stopped that another one stands in for, in a sentence."""
    return f"It is moved away{why_drained(drain)}."


def _move(draft: Draft, instance: Instance, drain: Drain) -> None:
    deployment = draft.deployments.get(instance.deployment)
    if deployment is None or deployment.delete_time is not None:
        return
    draft.concern(instance.deployment)
    if drain.deadline_time is not None and drain.deadline_time <= draft.now:
        reason = f"It is moved away{why_drained(drain)}; the time to wait for another one in its place is over."
        draft.retire(instance, reason)
        draft.event(Severity.WARNING, "DRAIN_DEADLINE", instance.name, f"{instance.name}: {reason}")
        return
    if instance.state is InstanceState.ERROR:
        draft.retire(instance, move_reason(drain))
        return
    if drain.deadline_time is not None:
        draft.wake(drain.deadline_time)
    draft.moving[instance.name] = drain


def _complete(draft: Draft, node: Node) -> None:
    for device_id, drain in list(drains_on(node)):
        if drain.complete_time is not None or any(concerns(node, device_id, each) for each in draft.on([node.name])):
            continue
        node = with_drain(node, device_id, replace(drain, complete_time=draft.now))
        draft.put(node)
        what = subject_of(node.name, device_id)
        draft.event(Severity.INFO, "DRAINED", node.name, f"{what} is drained{_took(drain, draft.now)}.")


def _took(drain: Drain, now: datetime) -> str:
    """Return how many instances went, and how long that took."""
    if not drain.total:
        return ": there was nothing on it"
    number = "1 instance" if drain.total == 1 else f"{drain.total} instances"
    return f": {number} left it in {(now - drain.time).total_seconds():.0f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What an instance that is moved away waits for; ``replacement`` is None before there is one."""

    instance: Instance
    replacement: Instance | None
    message: str


def waits(drain: Drain, moving: Iterable[Instance], of: Callable[[str], Mapping[str, Instance]]) -> list[Wait]:
    """Return what each of these instances waits for, by name; ``of`` gives the instances of a deployment."""
    theirs = {instance.name: instance for instance in moving}
    found = []
    for _, instance in sorted(theirs.items()):
        others = [
            each
            for each in of(instance.deployment).values()
            if each.name not in theirs and not each.leaves and each.create_time >= drain.time
        ]
        replacement = None if instance.leaves else max(others, key=lambda each: each.create_time, default=None)
        found.append(Wait(instance=instance, replacement=replacement, message=_wait(instance, replacement)))
    return found


def _wait(instance: Instance, replacement: Instance | None) -> str:
    if instance.state is InstanceState.UNREACHABLE:
        return "its node is not heard from, and has to confirm that it stopped"
    if instance.leaves:
        return f"it is being stopped: {instance.state_message}"
    if replacement is None:
        return "it waits for its turn: one instance of a deployment is moved at a time"
    if replacement.placement is None:
        why = replacement.refusals[0].message if replacement.refusals else "it was only just made"
        return f"it waits for a place for {replacement.name}: {why}"
    if is_ready(replacement):
        return f"{replacement.name} serves; it is withdrawn next"
    detail = f": {replacement.state_message}" if replacement.state_message else ""
    return f"it waits for {replacement.name} to serve, which is {replacement.state.name}{detail}"
