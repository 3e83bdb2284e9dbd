"""How many instances a deployment has, and which of them go first.

A changed spec replaces instances one at a time: first a new one is made, then, when it is ready, an old one goes. A new
one that failed holds that up until it is ready after all. ``rollouts.py`` says so, and makes room where that is wished.
Instances that are moved away (``drains.py``) are replaced likewise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Drain
from motorpool_controller.domain.names import instance_name
from motorpool_controller.domain.rollouts import is_outdated, is_ready
from motorpool_controller.domain.workload import Deployment, Instance
from motorpool_controller.reconcile.draft import Draft
from motorpool_controller.reconcile.drains import move_reason
from motorpool_controller.reconcile.ranking import worth

SUFFIX_LENGTH = 5


def settle_replicas(draft: Draft, fresh_ids: Iterator[str]) -> None:
    """Create, replace and stop instances until each deployment has what it wishes; forget the deleted ones.

    Where there is not room for all of them in one decision, those go first that got none in the decision before.
    """
    agenda = draft.agenda
    before, agenda.made_of, agenda.short = agenda.made_of, set(), set()
    for deployment in sorted(draft.concerned(), key=lambda each: each.name in before):
        name = deployment.name
        if deployment.delete_time is None:
            _settle(draft, deployment, fresh_ids)
            continue
        for instance in draft.live(deployment):
            draft.stop(instance, f"{name} was deleted.")
        if not draft.of(name):
            draft.drop(deployment)
            draft.event(Severity.INFO, "DEPLOYMENT_DELETED", name, f"{name} is gone; its model files stay.")


def _settle(draft: Draft, deployment: Deployment, fresh_ids: Iterator[str]) -> None:
    wished, number = deployment.spec.replicas, _number_at_rest(draft, deployment)
    if number is not None and number <= wished:
        _make(draft, deployment, wished - number, fresh_ids)
        return
    for instance in draft.live(deployment):
        if is_outdated(instance, deployment) and instance.placement is None:
            draft.stop(instance, "")
    live = draft.live(deployment)
    current = [instance for instance in live if not _is_former(draft, instance, deployment)]
    missing = wished - len(live)
    if missing <= 0 and len(current) < min(wished, len(live)) and not _in_flight(deployment, live, current):
        missing = 1
    _make(draft, deployment, missing, fresh_ids)
    _stop_surplus(draft, deployment)


def _make(draft: Draft, deployment: Deployment, missing: int, fresh_ids: Iterator[str]) -> None:
    """Make the instances that are missing, or as many as there is room for, and have the next decision make more."""
    count = max(0, min(missing, draft.room))
    for _ in range(count):
        draft.put(_created(draft, deployment, fresh_ids))
    draft.room -= count
    if count:
        draft.agenda.made_of.add(deployment.name)
    if count < missing:
        draft.agenda.short.add(deployment.name)
        draft.wake(draft.now)


def _number_at_rest(draft: Draft, deployment: Deployment) -> int | None:
    """Return how many instances a deployment has, without looking at each; None where any is former or leaves."""
    groups = draft.agenda.groups
    standing, tally = groups.of_deployment(deployment.name), groups.tally(deployment.name)
    if len(standing) != tally.number or tally.counts(deployment).outdated:
        return None
    return tally.number if standing.keys().isdisjoint(draft.moving) else None


def _is_former(draft: Draft, instance: Instance, deployment: Deployment) -> bool:
    """Return whether another one is to stand in for an instance: its spec was changed, or it is moved away."""
    return is_outdated(instance, deployment) or instance.name in draft.moving


def _in_flight(deployment: Deployment, live: Sequence[Instance], current: Sequence[Instance]) -> bool:
    """Return whether one that stands in for a former one is on its way, so that no other is made.

    Of a changed spec all must be well, as its instances may fail; of instances that are only moved, those that stood
    before may be ill for their own reasons.
    """
    if any(is_outdated(instance, deployment) for instance in live):
        return not all(is_ready(instance) for instance in current)
    return len(live) > deployment.spec.replicas or any(each.placement is None for each in current)


def _stop_surplus(draft: Draft, deployment: Deployment) -> None:
    wished = deployment.spec.replicas
    live = draft.live(deployment)
    if len(live) <= wished:
        return
    current = [instance for instance in live if not _is_former(draft, instance, deployment)]
    for instance in sorted(live, key=lambda each: (not _is_former(draft, each, deployment), worth(draft, each))):
        if len(live) <= wished:
            return
        former = instance not in current
        drain = None if is_outdated(instance, deployment) else draft.moving.get(instance.name)
        if former and not _is_replaced(drain, deployment, live, current):
            return  # its replacement is not ready yet
        if not former and len(current) <= wished:
            return
        live.remove(instance)
        if instance in current:
            current.remove(instance)
        draft.moving.pop(instance.name, None)
        reason = f"{deployment.name} wishes for {wished}."
        if former:
            reason = f"{deployment.name} has a new spec." if drain is None else move_reason(drain)
        draft.retire(instance, reason)


def _is_replaced(
    drain: Drain | None, deployment: Deployment, live: Sequence[Instance], current: Sequence[Instance]
) -> bool:
    """Return whether those that were made since a drain began serve; without any, whether enough serve all the same."""
    since = [] if drain is None else [each for each in current if each.create_time >= drain.time]
    if since:
        return all(is_ready(each) for each in since)
    return sum(is_ready(each) for each in current) + len(live) - len(current) > deployment.spec.replicas


def _created(draft: Draft, deployment: Deployment, fresh_ids: Iterator[str]) -> Instance:
    uid = next(fresh_ids)
    while (name := instance_name(deployment.name, uid[:SUFFIX_LENGTH])) in draft.instances:
        uid = next(fresh_ids)
    return Instance(
        name=name,
        uid=uid,
        deployment=deployment.name,
        deployment_generation=deployment.generation,
        template_generation=deployment.template_generation,
        create_time=draft.now,
        state_time=draft.now,
    )
