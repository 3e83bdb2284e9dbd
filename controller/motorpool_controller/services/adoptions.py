"""What a node runs and no record places there becomes an instance of its deployment, on an operator's word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from motorpool_controller.domain.errors import NotFoundError, PreconditionError
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.names import shown
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.specs import check_spec, revised
from motorpool_controller.domain.workload import Deployment, Instance
from motorpool_controller.reconcile.adoption import Around, Found, adopted, is_full, waiting
from motorpool_controller.reconcile.adoption_rows import overcommits, refusals
from motorpool_controller.reconcile.world import Report
from motorpool_controller.services.mutations import check_etag
from motorpool_controller.services.strays import stray_of
from motorpool_controller.store.transaction import Transaction

MOST_ROWS = 8
"""An error travels in a trailer, which is bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an operator asked for; an empty ``deployment`` is the one that it was made for."""

    node: str
    assignment_id: str
    deployment: str = ""
    add_replica: bool = False
    reason: str = ""
    generation: int = 0
    etag: str = ""
    actor: str = ""


def adopt(tx: Transaction, told: Callable[[str], Report | None], wish: Wish) -> Instance:
    """Take what a node has as an instance of its deployment; raise with a row for each thing that speaks against it.

    ``told`` is what a node says of the assignment. Of one over several nodes any member's node may be asked for.
    """
    node, report = stray_of(tx, told(wish.node), wish.node, wish.assignment_id, wish.generation)
    assignment = report.assignment
    if assignment is None:
        message = (
            f"{node.name} does not tell what it runs as {wish.assignment_id}: nothing of it runs, it is not the "
            "node's own for certain, or the agent is older than this controller; it says: "
            f"{report.message or 'nothing'}"
        )
        raise _refused(wish, [Refusal(stage="node", reason="NOT_TOLD", subject=node.name, message=message)])
    _check_placed_nowhere(tx, assignment.instance, wish)
    found = _whole(tx, told, wish, Found(node=node, report=report, assignment=assignment))
    standing = _deployment(tx, wish.deployment or assignment.deployment)
    check_etag(standing.name, standing.revision, wish.etag)
    around = _around(tx, standing, found)
    if wish.add_replica and is_full(around, assignment.assignment_id):
        around = replace(around, deployment=_with_one_more(standing, tx.now))
    rows = refusals(found, around)
    if rows:
        raise _refused(wish, rows)
    if assignment.api_key and assignment.api_key != standing.api_key:
        # Nothing of it is placed, so that nobody was served by the other one.
        around = replace(around, deployment=replace(around.deployment, api_key=assignment.api_key))
    if around.deployment is not standing:
        tx.deployments.put(around.deployment)
    gives_way = waiting(around, assignment.assignment_id)
    if gives_way is not None:
        tx.instances.delete(gives_way.name)
    made = tx.instances.put(adopted(found, around, tx.now, overcommitted=overcommits(found, around)))
    tx.event(Severity.INFO, "STRAY_ADOPTED", made.name, _told(made, wish, gives_way))
    return made


def _whole(tx: Transaction, told: Callable[[str], Report | None], wish: Wish, one: Found) -> Found:
    """Return it with all its members, the leader first; raise where one of them is not there to be taken, too."""
    parts, rows = [], []
    for member in one.assignment.gang:
        node, report = tx.nodes.get(member.node), told(member.node)
        if member.node == one.node.name:
            parts.append(one)
        elif node is not None and report is not None and report.assignment is not None:
            parts.append(Found(node=node, report=report, assignment=report.assignment))
        else:
            message = (
                f"{member.node} (rank {member.rank}) tells of nothing of it that runs; all {len(one.assignment.gang)} "
                "members are adopted, or none: once that node tells of it, or `motorpool release` ends the others"
            )
            rows.append(Refusal(stage="node", reason="MEMBER_MISSING", subject=member.node, message=message))
    if rows:
        raise _refused(wish, rows)
    if not parts:
        return one
    return replace(parts[0], others=tuple(parts[1:]))


def _check_placed_nowhere(tx: Transaction, name: str, wish: Wish) -> None:
    row = tx.instances.get(name)
    if row is not None and row.uid == wish.assignment_id and row.placement is not None:
        raise PreconditionError(
            "INSTANCE_PLACED",
            f"{name} is placed on {row.placement.members[0].node} by now; `motorpool release` ends what {wish.node} "
            "has",
        )


def _deployment(tx: Transaction, name: str) -> Deployment:
    row = tx.deployments.get(name)
    if row is None:
        raise NotFoundError(
            "NOT_FOUND",
            f"{shown(name)} does not exist, for which it was made; make it again as it was, with `--replicas 0` so "
            "that no other instance is placed, and adopt with --add-replica; or name another one with --deployment",
        )
    return row


def _with_one_more(deployment: Deployment, now: datetime) -> Deployment:
    spec = replace(deployment.spec, replicas=deployment.spec.replicas + 1)
    check_spec(spec)
    return revised(deployment, spec, now)


def _around(tx: Transaction, deployment: Deployment, found: Found) -> Around:
    beside = {name: each for member in found.members for name, each in tx.instances_on(member.node.name).items()}
    return Around(
        deployment=deployment,
        siblings=tuple(tx.instances_of(deployment.name).values()),
        beside=tuple(beside.values()),
        profiles=tx.profiles,
        declared=tx.backends,
    )


def _refused(wish: Wish, rows: Sequence[Refusal]) -> PreconditionError:
    more = len(rows) - MOST_ROWS
    said = "; ".join(f"{row.reason}: {row.message}" for row in rows[:MOST_ROWS])
    return PreconditionError(
        "STRAY_NOT_ADOPTABLE",
        f"assignment {shown(wish.assignment_id)} on {wish.node} cannot be adopted: {said}"
        + (f"; and {more} more" if more > 0 else ""),
        metadata={"rows": ",".join(dict.fromkeys(row.reason for row in rows))},
    )


def _told(made: Instance, wish: Wish, gives_way: Instance | None) -> str:
    whose = f"{f', says {wish.actor}' if wish.actor else ''}{f': {wish.reason}' if wish.reason else ''}"
    instead = "" if gives_way is None else f" {gives_way.name}, which waited for a place, is not needed any more."
    runs = f"{wish.node} runs as pid {made.pid}"
    if made.gang is not None:
        runs = " and ".join(f"{member.node} runs as pid {member.pid}" for member in made.gang.members)
    return f"{made.name}, which {runs}, is {made.deployment}'s now{whose}.{instead}"
