"""An instance over several nodes is adopted whole, as its members run, or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.fleet import NodeState, StartOrder
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import GangPhase, Instance
from motorpool_controller.reconcile.adoption import Around, Found, adopted
from motorpool_controller.reconcile.adoption_rows import overcommits, refusals
from motorpool_controller.reconcile.world import Report, World
from tests.controller.fleets import NOW, deployment, placed
from tests.controller.reconcile.test_gangs import NAME, S, decided, of, running, started, told


def found(state: World, **changes: Any) -> Found:
    """
    What both nodes tell of an instance that no record knows any more; ``changes`` are of what the second was told.
    """
    members = [
        Found(
            node=state.nodes[f"nodes/{name}"],
            report=Report(
                assignment_id=assignment.assignment_id, generation=assignment.generation, state=S.QUARANTINED, pid=7
            ),
            assignment=replace(assignment, **changes) if name == "b" else assignment,
        )
        for name, assignment in told(state).items()
    ]
    return replace(members[0], others=tuple(members[1:]))


def around(state: World, *beside: Instance, **spec: Any) -> Around:
    return Around(
        deployment=deployment(**spec),
        siblings=(),
        beside=beside,
        profiles=state.profiles,
        declared=state.declared,
    )


@pytest.mark.parametrize("order", StartOrder)
def test_members_are_told_what_they_were_told_before(order: StartOrder) -> None:
    """
    Both nodes keep what they have: the same generation, rank, claim, members and ports, and all are told to run; it
    serves as soon as both say so.
    """
    before = started(order=order)
    if order is not StartOrder.TOGETHER:
        before = running(decided(before)[0])
    whole = found(before)
    there = around(before)

    assert () == refusals(whole, there)
    made = adopted(whole, there, NOW)
    placement = before.instances[NAME].placement
    assert placement is not None
    assert made.placement is not None
    assert (placement.members, placement.style, placement.parallelism) == (
        made.placement.members,
        made.placement.style,
        made.placement.parallelism,
    )
    assert told(before) == told(of(made))
    assert S.STARTING is made.state
    after = running(of(made)).instances[NAME]
    assert S.RUNNING is after.state
    assert "http://a.example:24000" == after.endpoint


@pytest.mark.parametrize(
    "changes", [{"gang_phase": GangPhase.RESERVE}, {"rank": 0}, {"gang": ()}, {"gang_style": "ray"}], ids=str
)
def test_members_that_were_told_otherwise_are_not_taken_together(changes: dict[str, Any]) -> None:
    """
    A member that reserves only, has another rank, or knows other members does not run with the leader.
    """
    before = started()
    rows = refusals(found(before, **changes), around(before))

    assert [("MEMBERS_APART", "nodes/b")] == [(row.reason, row.subject) for row in rows]


def test_a_member_of_another_generation_does_not_run_with_the_leader() -> None:
    """
    After a failure all begin again: one that missed it is of another time.
    """
    before = started()
    whole = found(before)
    other = whole.others[0]
    stale = replace(other, report=replace(other.report, generation=2))

    assert {"MEMBERS_APART"} == {row.reason for row in refusals(replace(whole, others=(stale,)), around(before))}


def test_each_members_node_and_claim_are_looked_at() -> None:
    """
    A member whose node is away, or whose claim does not fit beside another one's, speaks against all of them, unless
    the deployment may go beyond what there is.
    """
    before = started()
    whole = found(before)
    away = replace(whole.others[0], node=replace(whole.others[0].node, state=NodeState.UNREACHABLE))
    other = placed("other-1", memory=24 * GIB, on="b", device_id="GPU-b", deployment="deployments/other")
    rows = refusals(whole, around(before, other))

    assert {("NODE_NOT_READY", "nodes/b")} == {
        (row.reason, row.subject) for row in refusals(replace(whole, others=(away,)), around(before))
    }
    assert [("CLAIMS_TOO_LARGE", "nodes/b/devices/GPU-b", ("instances/other-1",))] == [
        (row.reason, row.subject, row.holders) for row in rows
    ]
    assert () == refusals(whole, around(before, other, allow_overcommit=True))
    assert overcommits(whole, around(before, other, allow_overcommit=True))
    assert not overcommits(whole, around(before, allow_overcommit=True))
