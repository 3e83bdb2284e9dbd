"""Decisions that look only at what was touched: the same as those that look at everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from motorpool_controller.domain.fleet import Cordon, Drain, NodeState
from motorpool_controller.domain.maintenance import WHOLE, cordoned
from motorpool_controller.domain.sizes import GIB, MIB
from motorpool_controller.domain.workload import InstanceState
from motorpool_controller.reconcile.agenda import Agenda, Changes
from motorpool_controller.reconcile.decide import decide
from motorpool_controller.reconcile.world import Decision, Reading, World
from motorpool_controller.scheduling.snapshot import Touched
from tests.controller.fleets import NOW, PATH, SMOLLM2, applied, deployment, ids, node, placed, usage, world

Row = TypeVar("Row")
Key = TypeVar("Key")
S = InstanceState

NAMES = ("a", "b", "c")
WISHES = ("x", "y")


@st.composite
def steps(draw: st.DrawFn, before: World) -> World:
    """The world a moment later: one thing in it is another, or gone."""
    kind = draw(st.sampled_from(["node", "wish", "instance", "usage", "reading", "gone", "lease", "suspect", "rest"]))
    if kind == "node":
        name = draw(st.sampled_from(NAMES))
        seen = st.sampled_from([NodeState.READY, NodeState.READY, NodeState.UNREACHABLE, NodeState.ENROLLED])
        made = node(name, state=draw(seen), cordoned=draw(st.booleans()), state_time=NOW - timedelta(seconds=60))
        if draw(st.booleans()):
            deadline = draw(st.sampled_from([None, NOW + timedelta(seconds=200)]))
            drain = draw(st.sampled_from([None, Drain(time=NOW, deadline_time=deadline)]))
            made = cordoned(made, WHOLE, Cordon(time=NOW, drain=drain))
        return replace(before, nodes=_with(before.nodes, made.name, made if draw(st.integers(0, 3)) else None))
    if kind == "wish":
        name = draw(st.sampled_from(WISHES))
        wish = deployment(
            name,
            replicas=draw(st.integers(0, 3)),
            reschedule_after_seconds=draw(st.sampled_from([0.0, 300.0])),
            generation=draw(st.integers(1, 2)),
            template_generation=draw(st.integers(1, 2)),
            delete_time=None if draw(st.integers(0, 3)) else NOW,
        )
        return replace(before, deployments=_with(before.deployments, wish.name, wish))
    if kind == "instance":
        states = st.sampled_from([S.SCHEDULED, S.STARTING, S.RUNNING, S.ERROR])
        there = [each for each in before.instances.values() if each.placement is not None and each.stop_time is None]
        instance = placed(
            f"i-{draw(st.integers(0, 4))}",
            on=draw(st.sampled_from(NAMES)),
            memory=draw(st.integers(1, 3)) * 700 * MIB,
            deployment=f"deployments/{draw(st.sampled_from(WISHES))}",
        )
        kept = draw(st.booleans())
        if there and kept:
            instance = draw(st.sampled_from(there))
        drain = draw(st.sampled_from([None, None, Drain(time=NOW)]))
        instance = replace(instance, state=draw(states), drain=drain)
        return replace(before, instances=_with(before.instances, instance.name, instance))
    if kind == "usage":
        name = f"nodes/{draw(st.sampled_from(NAMES))}"
        measured = usage(before.nodes[name], foreign=draw(st.integers(0, 7)) * GIB) if name in before.nodes else None
        return replace(before, usage=_with(before.usage, name, measured))
    if kind == "reading":
        key = (f"nodes/{draw(st.sampled_from(NAMES))}", PATH)
        answer = draw(st.sampled_from([Reading(facts=SMOLLM2), Reading(error_reason="MODEL_NOT_FOUND"), None]))
        return replace(before, readings=_with(before.readings, key, answer))
    if kind == "gone":
        return replace(before, gone=frozenset(each.uid for each in before.instances.values() if draw(st.booleans())))
    if kind == "suspect":
        return replace(before, suspect=frozenset(name for name in before.nodes if draw(st.booleans())))
    if kind == "rest":
        return before
    ends = {name: NOW + timedelta(seconds=draw(st.integers(-60, 60))) for name in before.nodes}
    return replace(before, lease_end=ends, connected=frozenset(name for name in ends if draw(st.booleans())))


@settings(deadline=None)
@given(st.data())
def test_looking_at_what_was_touched_decides_the_same(data: st.DataObject) -> None:
    """
    Through any history of changes, a decision that is told what was touched is the one that looks at all there is.
    """
    agenda, before = Agenda(), world(nodes=(), deployments=())
    after = world([node(name) for name in NAMES], [deployment("x", replicas=2)])
    now = NOW
    for _ in range(data.draw(st.integers(1, 8), label="steps")):
        told = replace(after, agenda=agenda, changes=_changes(before, after))
        decision = decide(told, now, ids())

        assert decision == decide(replace(after, agenda=Agenda(), changes=None), now, ids())

        recorded = _recorded(after, decision, now)
        before, after = after, data.draw(steps(recorded), label="world")
        now += timedelta(seconds=data.draw(st.sampled_from([0, 0, 30, 400]), label="seconds"))


def test_a_fleet_at_rest_is_looked_at_once() -> None:
    """
    What changes on one node has no other node's instances looked at, and what fits nowhere is not tried again.
    """
    agenda = Agenda()
    start = world(
        [node("a", memory=GIB), node("b")],
        [deployment("x", replicas=1), deployment("y", replicas=1, parameters=("-c", "8000000"))],
    )
    first = decide(replace(start, agenda=agenda), NOW, ids())
    then = _recorded(start, first, NOW)
    second = decide(replace(then, agenda=agenda, changes=_changes(start, then)), NOW, ids())
    at_rest = _recorded(then, second, NOW)
    counted = replace(at_rest, agenda=agenda, changes=_changes(then, at_rest))

    decide(counted, NOW, ids())
    tried = [each.state for each in agenda.tried.values()]
    quiet = decide(replace(at_rest, agenda=agenda, changes=Changes(leases=False)), NOW, ids())

    assert not quiet.changes_records
    assert [agenda.columns.state] == tried
    assert agenda.look(Changes(), {}, ()) == (set(), set())
    assert set(agenda.tried) == set(agenda.waiting)
    assert {_scheduled(at_rest)} == agenda.overdue(NOW)


def _scheduled(then: World) -> str:
    (found,) = [each.name for each in then.instances.values() if each.state is S.SCHEDULED]
    return found


def _recorded(before: World, decision: Decision, now: datetime) -> World:
    """Return the world once a decision was written, its rows new objects as those of a store are."""
    after = applied(before, decision)
    put = {each.name: replace(each, revision=each.revision + 1) for each in decision.put_instances}
    return replace(after, instances=dict(after.instances) | put, agenda=Agenda(), changes=None)


def _changes(before: World, after: World) -> Changes:
    return Changes(
        rows=Touched(
            nodes=_differing(before.nodes, after.nodes) | (before.suspect ^ after.suspect),
            instances=_differing(before.instances, after.instances),
            usage=_differing(before.usage, after.usage),
            readings=_differing(before.readings, after.readings),
        ),
        deployments=_differing(before.deployments, after.deployments),
    )


def _differing(before: Mapping[Key, Row], after: Mapping[Key, Row]) -> frozenset[Key]:
    keys: Iterable[Key] = {**before, **after}
    return frozenset(key for key in keys if before.get(key) is not after.get(key))


def _with(rows: Mapping[Key, Row], key: Key, row: Row | None) -> dict[Key, Row]:
    others = {other: each for other, each in rows.items() if other != key}
    return others if row is None else {**others, key: row}
