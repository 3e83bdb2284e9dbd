"""Which nodes are there, and what becomes of instances on those that are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Node, NodeState
from motorpool_controller.domain.workload import Instance, InstanceState
from motorpool_controller.reconcile.draft import Draft
from motorpool_controller.reconcile.gangs import lose
from motorpool_controller.reconcile.moves import moved

RETURN = timedelta(seconds=90)
"""Longer than an agent waits before it dials again, and for its turn."""


def settle_nodes(draft: Draft) -> None:
    """Have nodes in session be ready, and nodes whose lease ran out be unreachable; an absent lease says nothing."""
    was_braked = _braked(draft)
    for name in _unsettled(draft):
        node, lease_end = draft.nodes[name], draft.world.lease_end.get(name)
        alive = lease_end is None or lease_end > draft.now
        if node.state is not NodeState.READY:
            if name in draft.world.connected and alive:
                draft.put(replace(node, state=NodeState.READY, state_message="", state_time=draft.now))
                if node.state is NodeState.ENROLLED:
                    draft.event(Severity.INFO, "NODE_READY", name, f"{name} is in session.")
                else:
                    draft.event(Severity.INFO, "NODE_RETURNED", name, _returned(draft, node))
                draft.wake(draft.now)  # its reports count from now on
        elif not alive:
            message = f"{name} has not been heard from since its lease ran out."
            draft.put(replace(node, state=NodeState.UNREACHABLE, state_message=message, state_time=draft.now))
            draft.event(Severity.WARNING, "NODE_UNREACHABLE", name, message)
    now_braked = _braked(draft)
    if now_braked - was_braked:
        _say_braked(draft, now_braked)


def _unsettled(draft: Draft) -> list[str]:
    """Return the nodes that are not ready, or whose lease ran out, by name; wake when the next one does."""
    unsettled = set(draft.agenda.roll.unready)
    next_end: datetime | None = None
    for name, end in draft.world.lease_end.items():
        if name not in draft.nodes:
            continue
        if end <= draft.now:
            unsettled.add(name)
        elif name not in unsettled and (next_end is None or end < next_end):
            next_end = end
    if next_end is not None:
        draft.wake(next_end)
    return sorted(unsettled)


def settle_instances(draft: Draft) -> None:
    """Have instances on lost nodes be unreachable, then replaced in time, unless many were lost at once."""
    lost, held = draft.agenda.roll.lost, _braked(draft)
    if held:
        for back in _back(draft):
            draft.wake((back.state_time or draft.now) + RETURN)
    concerned = {each.name: each for each in draft.looked_at() if each.state is InstanceState.UNREACHABLE}
    concerned |= {each.name: each for each in draft.on(lost)}
    for _, instance in sorted(concerned.items()):
        node = draft.lost_node(instance)
        if node is None:
            if instance.state is InstanceState.UNREACHABLE and instance.stop_time is not None:
                draft.put(moved(instance, InstanceState.STOPPING, instance.stop_reason, draft.now))
            continue
        if instance.state is not InstanceState.UNREACHABLE or instance.gang is not None:
            missed = lose(instance, frozenset(lost), f"{node.name} is not heard from.", draft.now)
            if missed != instance:
                draft.put(missed)
        if instance.stop_time is None and node.name not in held:
            _replace_in_time(draft, draft.instances[instance.name], node)


def _braked(draft: Draft) -> frozenset[str]:
    """Return the lost nodes that went with so many others that the fault is more likely on our side than on theirs.

    It holds until they are back, or fewer, or an operator deletes them. Those that are just back count with the lost:
    where many return one after the other, the last are on their way.
    """
    settings, roll = draft.world.settings, draft.agenda.roll
    lost = [node for node in map(draft.nodes.__getitem__, roll.lost) if node.state_time is not None]
    if not lost:
        return frozenset()
    least = max(settings.mass_failure_nodes, settings.mass_failure_fraction * (len(draft.nodes) - len(roll.enrolled)))
    window = timedelta(seconds=settings.mass_failure_window_seconds)
    times = sorted(node.state_time for node in lost if node.state_time is not None)
    crowded: list[tuple[datetime, datetime]] = []
    first = 0
    for last, time in enumerate(times):
        while time - times[first] > window:
            first += 1
        if last - first + 1 >= least:
            crowded.append((times[first], time))
    if len(lost) < least <= len(lost) + len(_back(draft)):
        return frozenset(node.name for node in lost)
    return frozenset(
        node.name
        for node in lost
        if any(start <= node.state_time <= end for start, end in crowded if node.state_time is not None)
    )


def _back(draft: Draft) -> list[Node]:
    """Return the nodes that were lost, or elsewhere, until just now; one that only just joined was not."""
    since = draft.now - RETURN
    ready = (draft.nodes[name] for name in draft.agenda.roll.ready_since(since))
    return [node for node in ready if node.create_time <= since]


def _replace_in_time(draft: Draft, instance: Instance, node: Node) -> None:
    deployment = draft.deployments.get(instance.deployment)
    lease_end = draft.world.lease_end.get(node.name)
    if deployment is None or deployment.spec.reschedule_after_seconds < 0 or lease_end is None:
        return
    # A node that was back for a moment is missed from then on, also where it told nothing of its instances. Controllers
    # that just started give each node a lease to come back in, whatever the records say of the past.
    missed = max(instance.state_time, node.state_time or instance.state_time)
    due = max(missed + timedelta(seconds=deployment.spec.reschedule_after_seconds), lease_end)
    if due > draft.now:
        draft.wake(due)
        return
    reason = f"{node.name} was lost; it is replaced elsewhere, and removed when the node returns."
    draft.stop(instance, reason)
    draft.event(Severity.WARNING, "INSTANCE_REPLACED", instance.name, f"{instance.name}: {reason}")


def _returned(draft: Draft, node: Node) -> str:
    """Return how long a node was away, and what becomes of its instances, in sentences."""
    away = "" if node.state_time is None else f" after {_length(draft.now - node.state_time)}"
    there = draft.on([node.name])
    replaced = sum(each.stop_time is not None for each in there)
    kept = len(there) - replaced
    parts = [f"{kept} of its instances {'goes' if kept == 1 else 'go'} on"] if kept else []
    parts += (
        [f"{replaced} {'was' if replaced == 1 else 'were'} replaced meanwhile, and stopped there"] if replaced else []
    )
    return f"{node.name} is back{away}{': ' if parts else ''}{'; '.join(parts)}."


def _length(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def _say_braked(draft: Draft, held: frozenset[str]) -> None:
    draft.event(
        Severity.ERROR,
        "MASS_FAILURE",
        "nodes",
        f"{len(held)} of {len(draft.nodes)} nodes were lost within a short time: their instances are not replaced until"
        " the nodes return. Look at the network and at the controller first; delete a node that is gone for good.",
    )
