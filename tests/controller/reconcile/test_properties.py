from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.fleet import NodeState
from motorpool_controller.domain.sizes import GIB, MIB
from motorpool_controller.domain.specs import revised
from motorpool_controller.domain.workload import Deployment, Instance, InstanceState
from motorpool_controller.reconcile.decide import decide
from motorpool_controller.reconcile.desired import desired_of
from motorpool_controller.reconcile.moves import LEGAL
from motorpool_controller.reconcile.world import Reading, World
from tests.controller.fleets import NOW, PATH, SMOLLM2, applied, deployment, ids, node, placed, usage, world

S = InstanceState
_PLACED = [S.SCHEDULED, S.STARTING, S.RUNNING, S.ERROR, S.UNREACHABLE, S.QUARANTINED]


@st.composite
def _deployments(draw: st.DrawFn, name: str) -> Deployment:
    made = deployment(
        name,
        replicas=draw(st.integers(0, 3)),
        reschedule_after_seconds=draw(st.sampled_from([0.0, 300.0, -1.0])),
        parameters=draw(st.sampled_from([(), ("-c", "4096"), ("-c", "60000")])),
        delete_time=NOW if draw(st.integers(0, 4)) == 0 else None,
    )
    return revised(made, replace(made.spec, env={"A": "b"}), NOW) if draw(st.booleans()) else made


@st.composite
def _instances(draw: st.DrawFn, number: int) -> Instance:
    stopping = draw(st.integers(0, 3)) == 0
    return placed(
        f"i-{number}",
        on=draw(st.sampled_from("abcd")),
        memory=draw(st.integers(0, 3)) * 400 * MIB,
        deployment=draw(st.sampled_from(["deployments/x", "deployments/y", "deployments/none"])),
        state=S.STOPPING if stopping else draw(st.sampled_from(_PLACED)),
        stop_time=NOW if stopping else None,
        state_time=NOW - timedelta(seconds=draw(st.integers(0, 1_000))),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Worlds of every kind, the unlikely included; node d was deleted."""
    nodes = [
        node(
            name,
            memory=draw(st.sampled_from([None, GIB, 4 * GIB])),
            state=draw(st.sampled_from(list(NodeState))),
            cordoned=draw(st.booleans()),
            state_time=NOW - timedelta(seconds=draw(st.integers(0, 1_000))),
        )
        for name in "abc"
    ]
    answers = st.sampled_from([Reading(facts=SMOLLM2), Reading(error_reason="MODEL_NOT_FOUND", error_message="?")])
    instances = [draw(_instances(number)) for number in range(draw(st.integers(0, 5)))]
    return world(
        nodes,
        [draw(_deployments(name)) for name in ("x", "y")],
        instances,
        connected=frozenset(each.name for each in nodes if draw(st.booleans())),
        lease_end={
            each.name: NOW + timedelta(seconds=draw(st.integers(-2_000, 60))) for each in nodes if draw(st.booleans())
        },
        readings={(each.name, PATH): draw(answers) for each in nodes if draw(st.booleans())},
        usage={each.name: usage(each) for each in nodes if draw(st.integers(0, 4))},
        gone=frozenset(each.uid for each in instances if draw(st.booleans())),
    )


@pytest.mark.promise("P3")
@given(worlds())
def test_no_row_goes_on_uncertainty(before: World) -> None:
    """
    A placed row is deleted only when a stop was ordered and its node confirmed it, or when the node was deleted.
    """
    decision = decide(before, NOW, ids())

    for name in decision.delete_instances:
        instance = before.instances[name]
        assert instance.placement is not None
        confirmed = instance.stop_time is not None and instance.uid in before.gone
        assert confirmed or instance.placement.members[0].node not in before.nodes


@pytest.mark.promise("P3")
@given(worlds())
def test_no_stop_is_ordered_because_something_is_absent(before: World) -> None:
    """
    Without readings, usage, profiles, sessions or leases nothing is stopped that would not be stopped with them, and an
    instance without its deployment's row is left alone.
    """
    blind = replace(
        before,
        readings={},
        usage={},
        profiles={},
        connected=frozenset(),
        lease_end={},
        gone=frozenset(),
    )
    after = applied(blind, decide(blind, NOW, ids()))

    for name, instance in before.instances.items():
        if instance.stop_time is not None or name not in after.instances:
            continue
        wish = before.deployments.get(instance.deployment)
        if after.instances[name].stop_time is not None:
            assert wish is not None
            others = [each for each in before.instances.values() if each.deployment == wish.name]
            live = [each for each in others if each.stop_time is None]
            assert wish.delete_time is not None or len(live) > wish.spec.replicas


@pytest.mark.promise("P4")
@given(worlds())
def test_every_pending_instance_has_rows_and_every_placed_one_an_assignment(before: World) -> None:
    """
    After a decision nobody waits without a reason, and what is placed is told to its node or has its tombstone there.
    """
    after = applied(before, decide(before, NOW, ids()))

    for instance in after.instances.values():
        if instance.state is S.PENDING:
            assert instance.refusals
            assert instance.placement is None
            continue
        assert instance.placement is not None
        told = desired_of(instance.placement.members[0].node, after)
        assigned = {each.assignment_id for each in told.assignments}
        removed = {each.assignment_id for each in told.tombstones}
        assert (instance.uid in assigned) != (instance.uid in removed)


@pytest.mark.promise("P7")
@given(worlds())
def test_deciding_comes_to_rest(before: World) -> None:
    """
    With no news and no time passing, a few decisions later there is nothing left to record.
    """
    fresh = ids()
    at = before
    for _ in range(12):
        decision = decide(at, NOW, fresh)
        at = replace(applied(at, decision), gone=frozenset())
        if not decision.changes_records:
            return
    pytest.fail("it does not come to rest")


@given(worlds())
def test_states_move_as_they_may(before: World) -> None:
    """
    No decision takes an instance from a state to one that may not follow it.
    """
    for after in decide(before, NOW, ids()).put_instances:
        known = before.instances.get(after.name)
        if known is not None and known.state is not after.state:
            assert after.state in LEGAL[known.state]


@pytest.mark.promise("P11")
@given(worlds())
def test_the_order_of_rows_does_not_matter(before: World) -> None:
    """
    Rows in any order give the same decision.
    """
    mixed = replace(
        before,
        nodes=dict(reversed(before.nodes.items())),  # type: ignore[call-overload]  # a dict
        instances=dict(reversed(before.instances.items())),  # type: ignore[call-overload]  # a dict
        deployments=dict(reversed(before.deployments.items())),  # type: ignore[call-overload]  # a dict
        readings=dict(reversed(before.readings.items())),  # type: ignore[call-overload]  # a dict
    )

    assert decide(mixed, NOW, ids()) == decide(before, NOW, ids())
