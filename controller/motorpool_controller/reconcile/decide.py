"""The whole decision: records and observations in, changes to record out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.workload import Instance
from motorpool_controller.reconcile.deadlines import settle_deadlines
from motorpool_controller.reconcile.draft import Draft
from motorpool_controller.reconcile.drains import settle_drains
from motorpool_controller.reconcile.gangs import release_gone, settle_gangs
from motorpool_controller.reconcile.liveness import settle_instances, settle_nodes
from motorpool_controller.reconcile.placing import place_pending
from motorpool_controller.reconcile.replicas import settle_replicas
from motorpool_controller.reconcile.rollouts import make_room, settle_rollouts
from motorpool_controller.reconcile.world import Decision, World


def decide(world: World, now: datetime, fresh_ids: Iterator[str]) -> Decision:
    """Return what to change so that the fleet moves toward the wishes; in a fleet at rest, nothing.

    ``fresh_ids`` gives ids that were never used, of at least eight lower-case letters and digits (``uuid4().hex``).
    """
    draft = Draft(world, now)
    if world.changes is None or world.changes.nodes_due:
        settle_nodes(draft)
    _forget_gone(draft)
    _forget_released(draft)
    release_gone(draft)
    settle_instances(draft)
    settle_gangs(draft)
    settle_deadlines(draft)
    settle_drains(draft)
    settle_replicas(draft, fresh_ids)
    place_pending(draft)
    make_room(draft)
    settle_rollouts(draft)
    return draft.decision()


def _forget_gone(draft: Draft) -> None:
    """Delete rows of which nothing is left: the node confirmed a stop, or an operator deleted the node."""
    touched = () if draft.world.changes is None else draft.world.changes.rows.nodes
    deleted = draft.on(name for name in touched if name not in draft.nodes)
    candidates = {each.name: each for each in (*draft.looked_at(), *deleted) if _is_gone(draft, each)}
    for _, instance in sorted(candidates.items()):
        draft.drop(instance)
        node = "" if instance.placement is None else instance.placement.members[0].node
        why = "its node confirmed that nothing is left of it" if node in draft.nodes else f"{node} was deleted"
        draft.event(Severity.INFO, "INSTANCE_REMOVED", instance.name, f"{instance.name} is gone: {why}.")


def _forget_released(draft: Draft) -> None:
    """Drop an operator's orders to end strays of which the node confirmed that nothing is left."""
    for name, uids in draft.world.gone_on.items():
        node = draft.nodes.get(name)
        done = [] if node is None else [each for each in node.releases if each.assignment_id in uids]
        if node is None or not done:
            continue
        draft.put(replace(node, releases=tuple(each for each in node.releases if each not in done)))
        for each in done:
            message = f"Nothing is left of assignment {each.assignment_id} on {name}."
            draft.event(Severity.INFO, "STRAY_REMOVED", name, message)


def _is_gone(draft: Draft, instance: Instance) -> bool:
    if instance.placement is None:
        return False
    if instance.stop_time is not None and instance.uid in draft.world.gone:
        return True
    members = instance.placement.members
    return members[0].node not in draft.nodes and not any(member.node in draft.nodes for member in members)
