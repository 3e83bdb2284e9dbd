"""What nodes have and no record places there: shown, and released by an operator's word, never by the controller's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from motorpool import v1
from motorpool_controller.domain.errors import NotFoundError, PreconditionError
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Node, Release
from motorpool_controller.domain.names import shown
from motorpool_controller.reconcile.world import Report
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.instance import launch_message
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction

MOST_RELEASES = 1_000
"""Of one node at a time."""


@dataclass(frozen=True, slots=True)
class Stray:
    """Something of an assignment that a node tells of, and the order to end it where there is one."""

    node: str
    report: Report
    release: Release | None

    @property
    def key(self) -> str:
        """What names it."""
        return f"{self.node} {self.report.assignment_id}"


def strays(store: Store, live: Live, node: str = "") -> Iterator[Stray]:
    """Yield what nodes told of since they are in session and is not placed there; of one node if it is named."""
    view = store.view
    for name in [node] if node else sorted(view.nodes):
        row = view.nodes.get(name)
        placed = {instance.uid for instance in view.groups.on_node(name).values()}
        for report in () if row is None else live.reports(name):
            if report.assignment_id not in placed and row is not None:
                yield Stray(name, report, _release(row, report.assignment_id))


def stray_of(
    tx: Transaction, told: Report | None, node: str, assignment_id: str, generation: int
) -> tuple[Node, Report]:
    """Return the node that has something, and what it says of it; raise where that is no stray, or another."""
    row = tx.nodes.get(node)
    if row is None:
        raise NotFoundError("NOT_FOUND", f"{shown(node)} does not exist; `motorpool nodes` lists those that do")
    placed = [each.name for each in tx.instances_on(node).values() if each.uid == assignment_id]
    if placed:
        raise PreconditionError(
            "INSTANCE_PLACED",
            f"{shown(assignment_id)} is {placed[0]}, which is placed on {node}; `motorpool drain {placed[0]} --force` "
            "ends it, and its deployment makes another one",
        )
    if told is None:
        raise NotFoundError(
            "NOT_FOUND",
            f"{node} tells of no assignment {shown(assignment_id)} since it is in session; `motorpool instances "
            "--strays` lists those that nodes tell of",
        )
    if generation and generation != told.generation:
        raise PreconditionError(
            "GENERATION_MISMATCH",
            f"{shown(assignment_id)} on {node} is of generation {told.generation}, not {generation}; look at it again",
        )
    return row, told


def release(
    tx: Transaction, told: Report | None, node: str, assignment_id: str, generation: int, actor: str, reason: str
) -> Stray:
    """Order a node to end what no record places there: what is not the node's own for certain it leaves alone."""
    row, told = stray_of(tx, told, node, assignment_id, generation)
    stands = _release(row, assignment_id)
    if stands is not None:
        return Stray(node, told, stands)
    if len(row.releases) >= MOST_RELEASES:
        raise PreconditionError(
            "TOO_MANY_RELEASES",
            f"{node} is to end {MOST_RELEASES} strays already and has not yet; `motorpool instances --strays` says why",
        )
    made = Release(assignment_id=assignment_id, generation=told.generation, time=tx.now, actor=actor, reason=reason)
    tx.nodes.put(replace(row, releases=(*row.releases, made)))
    what = f"assignment {assignment_id} ({told.instance or 'of no name'}, pid {told.pid})"
    whose = f"{f', says {actor}' if actor else ''}{f': {reason}' if reason else ''}"
    tx.event(Severity.WARNING, "STRAY_RELEASED", node, f"{node} is to end {what}, which is not placed there{whose}.")
    return Stray(node, told, made)


def stray_message(stray: Stray) -> v1.StrayInstance:
    """Return a stray as a message."""
    report, order = stray.report, stray.release
    return v1.StrayInstance(
        node=stray.node,
        assignment_id=report.assignment_id,
        instance=report.instance,
        generation=report.generation,
        state=fields.number(v1.InstanceState, "INSTANCE_STATE", report.state),
        state_message=report.message,
        launch=None if report.launch is None else launch_message(report.launch),
        pid=report.pid,
        start_time=fields.timestamp(report.start_time),
        release=(
            None
            if order is None
            else v1.Release(create_time=fields.timestamp(order.time), actor=order.actor, reason=order.reason)
        ),
        deployment="" if report.assignment is None else report.assignment.deployment,
        adoptable=report.assignment is not None and order is None,
    )


def _release(node: Node, assignment_id: str) -> Release | None:
    return next((each for each in node.releases if each.assignment_id == assignment_id), None)
