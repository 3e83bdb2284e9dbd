"""How a changed spec gets on: what holds it up, and room for it where an old instance may go first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.groups import nodes_of
from motorpool_controller.domain.names import id_of
from motorpool_controller.domain.rollouts import has_failed, is_outdated, is_ready
from motorpool_controller.domain.workload import (
    Deployment,
    Instance,
    InstanceState,
    Rollout,
    RolloutState,
    RolloutStrategy,
)
from motorpool_controller.reconcile.agenda import Tried
from motorpool_controller.reconcile.draft import Draft
from motorpool_controller.reconcile.ranking import worth
from motorpool_controller.scheduling.scheduler import schedule
from motorpool_controller.scheduling.snapshot import Request, Touched, without

# Rows that say that something is being found out: whether there is room nobody knows yet.
_NOT_KNOWN_YET = {"MODEL_NOT_READ_YET", "NODE_NOT_READY", "NODE_SUSPECT"}

_EVENTS = {
    RolloutState.NO_ROOM: (Severity.WARNING, "ROLLOUT_NO_ROOM"),
    RolloutState.UNPLACEABLE: (Severity.ERROR, "ROLLOUT_UNPLACEABLE"),
    RolloutState.FAILED: (Severity.ERROR, "ROLLOUT_STOPPED"),
    RolloutState.COMPLETE: (Severity.INFO, "ROLLOUT_COMPLETE"),
}


def make_room(draft: Draft) -> None:
    """Stop one old instance of each deployment whose new instance would fit in its place, and nowhere else.

    One that serves goes only where the deployment's strategy is to replace; one that failed serves nobody.
    """
    if draft.unfinished:
        return  # those that wait may yet be placed elsewhere
    groups = draft.agenda.groups
    for name in sorted(draft.agenda.waiting.deployments & draft.deployments.keys()):
        deployment = draft.deployments[name]
        if not groups.tally(name).counts(deployment).outdated:
            continue
        live = draft.live(deployment)
        victims = [each for each in live if is_outdated(each, deployment) and _may_go(each, deployment)]
        pending = [each for each in live if each.placement is None]
        if not victims or not pending or any(each.leaves for each in draft.of(name)):
            continue
        victim = min(victims, key=lambda each: worth(draft, each))
        request = draft.request(pending[0], deployment)
        if _fits_without(draft, victim, request):
            draft.retire(victim, f"It makes room for {pending[0].name}, which has the new spec of {name}.")


def settle_rollouts(draft: Draft) -> None:
    """Record how far changed specs have come, and tell when that is another state than before."""
    for deployment in draft.concerned():
        before = deployment.rollout
        if before is None or before.state is RolloutState.COMPLETE or deployment.delete_time is not None:
            continue
        state, message = _standing(deployment, draft.of(deployment.name))
        if (state, message) == (before.state, before.message):
            continue
        since = before.state_time if state is before.state else draft.now
        draft.put(replace(deployment, rollout=Rollout(state=state, message=message, state_time=since)))
        if state is not before.state and state in _EVENTS:
            severity, reason = _EVENTS[state]
            words = message or f"all its instances are of revision {deployment.template_generation}."
            draft.event(severity, reason, deployment.name, f"{deployment.name}: {words}")


def _may_go(instance: Instance, deployment: Deployment) -> bool:
    if instance.placement is None:
        return False
    return deployment.spec.rollout_strategy is RolloutStrategy.REPLACE or instance.state is InstanceState.ERROR


def _fits_without(draft: Draft, victim: Instance, request: Request) -> bool:
    """Return whether a request fits once an instance is gone; what was found out stands until something changes."""
    snapshot, columns = draft.snapshot()
    agenda, state = draft.agenda, columns.state
    tried = Tried(state, request.spec, ((victim.name, victim.uid),))
    if agenda.tried_without.get(request.name) == tried:
        return False
    hypothetical = without(snapshot, victim)
    differing = Touched(instances=frozenset({victim.name}), usage=frozenset(nodes_of(victim)))
    columns.follow(hypothetical, differing)
    try:
        fits = bool(schedule(hypothetical, [request], columns).placements)
    finally:
        columns.follow(snapshot, differing)
        agenda.restate(state)
    if not fits:
        agenda.tried_without[request.name] = replace(tried, state=columns.state)
    return fits


def _standing(deployment: Deployment, instances: Sequence[Instance]) -> tuple[RolloutState, str]:
    live = [each for each in instances if not each.leaves]
    outdated = [each for each in live if is_outdated(each, deployment)]
    current = [each for each in live if not is_outdated(each, deployment)]
    name, number = id_of(deployment.name), deployment.template_generation
    ready = sum(is_ready(each) for each in current)
    if not outdated and ready >= deployment.spec.replicas:
        return RolloutState.COMPLETE, ""
    failed = next((each for each in current if has_failed(each)), None)
    if failed is not None:
        why = failed.state_message if failed.last_failure is None else failed.last_failure.message
        serving = sum(each.state is InstanceState.RUNNING for each in outdated)
        others = f"{serving} of the former go on serving" if serving else "none of the former is left to serve"
        return RolloutState.FAILED, (
            f"{failed.name}, of revision {number}, failed: {why}; {others}. It is tried again by itself; `motorpool "
            f"rollout undo {name}` returns to the former spec."
        )
    waiting = next((each for each in current if each.placement is None and each.refusals), None)
    making_room = len(live) < len(instances)
    unknown = waiting is not None and any(row.reason in _NOT_KNOWN_YET for row in waiting.refusals)
    if waiting is None or not outdated or making_room or unknown:
        return RolloutState.PROGRESSING, ""
    wrong = waiting.refusals[0].message
    if all(row.needed is None for row in waiting.refusals):
        return RolloutState.UNPLACEABLE, (
            f"{waiting.name}, of revision {number}, cannot be placed, and not for want of room: {wrong} `motorpool "
            f"rollout undo {name}` returns to the former spec."
        )
    return RolloutState.NO_ROOM, f"{waiting.name}, of revision {number}, {_without_place(deployment)}. {wrong}"


def _without_place(deployment: Deployment) -> str:
    if deployment.spec.rollout_strategy is RolloutStrategy.REPLACE:
        return "has no place, not even that of a former one; `motorpool explain` says what would help"
    return (
        "has no place beside the former ones; free some memory, or let one of them go first with `motorpool update "
        f"{id_of(deployment.name)} --replace`, during which there is one less"
    )
