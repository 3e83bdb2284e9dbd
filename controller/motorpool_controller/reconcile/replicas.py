"""How many instances a deployment has, and which of them go first.

A changed spec replaces instances one at a time: first the new one, then, when it runs, an old one goes. Where there is
no room for both, an old one goes first, and only if the new one then has a place.
"""

from __future__ import annotations

from collections.abc import Iterator

from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.groups import nodes_of
from motorpool_controller.domain.names import instance_name
from motorpool_controller.domain.workload import Deployment, Instance, InstanceState
from motorpool_controller.reconcile.draft import Draft
from motorpool_controller.scheduling.scheduler import schedule
from motorpool_controller.scheduling.snapshot import Request, Touched, without

SUFFIX_LENGTH = 5

_WORTH = {InstanceState.RUNNING: 100, InstanceState.ERROR: 0, InstanceState.UNREACHABLE: 0, InstanceState.PENDING: -1}
_WORTH_OF_OTHERS = 50


def settle_replicas(draft: Draft, fresh_ids: Iterator[str]) -> None:
    """Create, replace and stop instances until each deployment has what it wishes; forget the deleted ones."""
    for deployment in draft.concerned():
        name = deployment.name
        if deployment.delete_time is None:
            _settle(draft, deployment, fresh_ids)
            continue
        for instance in _live(draft, deployment):
            draft.stop(instance, f"{name} was deleted.")
        if not draft.of(name):
            draft.drop(deployment)
            draft.event(Severity.INFO, "DEPLOYMENT_DELETED", name, f"{name} is gone; its model files stay.")


def make_room(draft: Draft) -> None:
    """Stop one outdated instance of each deployment whose new instance would fit in its place, and nowhere else."""
    waiting = {each.deployment for each in draft.looked_at() if each.placement is None}
    for name in sorted(waiting & draft.deployments.keys()):
        deployment = draft.deployments[name]
        everything = draft.of(name)
        outdated = [instance for instance in _live(draft, deployment) if _outdated(instance, deployment)]
        pending = [instance for instance in _live(draft, deployment) if instance.placement is None]
        if not outdated or not pending or any(instance.stop_time is not None for instance in everything):
            continue
        victim = min(outdated, key=_worth)
        request = draft.request(pending[0], deployment)
        if _fits_without(draft, victim, request):
            draft.stop(victim, f"It makes room for {pending[0].name}, which has the new spec of {name}.")


def _fits_without(draft: Draft, victim: Instance, request: Request) -> bool:
    snapshot, columns = draft.snapshot()
    hypothetical = without(snapshot, victim)
    differing = Touched(instances=frozenset({victim.name}), usage=frozenset(nodes_of(victim)))
    columns.follow(hypothetical, differing)
    try:
        return bool(schedule(hypothetical, [request], columns).placements)
    finally:
        columns.follow(snapshot, differing)


def _settle(draft: Draft, deployment: Deployment, fresh_ids: Iterator[str]) -> None:
    wished = deployment.spec.replicas
    standing = draft.agenda.groups.of_deployment(deployment.name).values()
    if len(standing) == wished and not any(each.stop_time or _outdated(each, deployment) for each in standing):
        return
    for instance in _live(draft, deployment):
        if _outdated(instance, deployment) and instance.placement is None:
            draft.stop(instance, "")
    live = _live(draft, deployment)
    current = [instance for instance in live if not _outdated(instance, deployment)]
    missing = wished - len(live)
    in_flight = any(instance.state is not InstanceState.RUNNING for instance in current)
    if missing <= 0 and len(current) < min(wished, len(live)) and not in_flight:
        missing = 1
    for _ in range(missing):
        draft.put(_created(draft, deployment, fresh_ids))
    _stop_surplus(draft, deployment)


def _stop_surplus(draft: Draft, deployment: Deployment) -> None:
    wished = deployment.spec.replicas
    live = _live(draft, deployment)
    current = [instance for instance in live if not _outdated(instance, deployment)]
    for instance in sorted(live, key=lambda each: (not _outdated(each, deployment), _worth(each))):
        if len(live) <= wished:
            return
        replacing = _outdated(instance, deployment)
        ready = sum(each.state is InstanceState.RUNNING for each in current)
        if replacing and ready + len(live) - len(current) <= wished:
            return  # its replacement does not run yet
        if not replacing and len(current) <= wished:
            return
        live.remove(instance)
        if instance in current:
            current.remove(instance)
        reason = f"{deployment.name} has a new spec." if replacing else f"{deployment.name} wishes for {wished}."
        draft.stop(instance, reason)


def _created(draft: Draft, deployment: Deployment, fresh_ids: Iterator[str]) -> Instance:
    uid = next(fresh_ids)
    while (name := instance_name(deployment.name, uid[:SUFFIX_LENGTH])) in draft.instances:
        uid = next(fresh_ids)
    return Instance(
        name=name,
        uid=uid,
        deployment=deployment.name,
        deployment_generation=deployment.generation,
        create_time=draft.now,
        state_time=draft.now,
    )


def _live(draft: Draft, deployment: Deployment) -> list[Instance]:
    return [instance for instance in draft.of(deployment.name) if instance.stop_time is None]


def _outdated(instance: Instance, deployment: Deployment) -> bool:
    return instance.deployment_generation < deployment.template_generation


def _worth(instance: Instance) -> tuple[int, float, str]:
    """Return what to sort by so that the least useful and youngest goes first (B13.3)."""
    worth = _WORTH.get(instance.state, _WORTH_OF_OTHERS)
    return worth, -instance.create_time.timestamp(), instance.name
