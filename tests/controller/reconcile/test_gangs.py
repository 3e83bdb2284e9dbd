"""An instance over several nodes: all reserve, then all run; one fails, and all of them begin again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.attempts import Attempt, Failure
from motorpool_controller.domain.fleet import NodeState, StartOrder
from motorpool_controller.domain.placement import Claim, DeviceClaim, Member, Placement
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import (
    Assignment,
    Gang,
    GangPhase,
    Instance,
    InstanceState,
    RenderedLaunch,
)
from motorpool_controller.reconcile.decide import decide
from motorpool_controller.reconcile.desired import desired_of
from motorpool_controller.reconcile.gangs import gang_members, new_gang
from motorpool_controller.reconcile.observe import happened, observe
from motorpool_controller.reconcile.world import Decision, Report, World
from motorpool_controller.store.codec import decode, encode
from tests.controller.fleets import NOW, applied, deployment, device, ids, node, placed, world

S = InstanceState
NAME = "instances/chat-1"
PORTS = {"a": {"http": 24000, "master": 24001}, "b": {"http": 25000}}
NODES = {
    f"nodes/{name}": node(name, devices=[device(f"GPU-{name}", network_address=f"10.9.0.{number}")])
    for number, name in enumerate("ab")
}


def pair(*, order: StartOrder = StartOrder.TOGETHER, restart: bool = True, **changes: Any) -> Instance:
    """An instance on nodes a and b, just placed."""
    members = tuple(
        Member(node=name, claim=Claim(devices=(DeviceClaim(f"GPU-{name[-1]}", GIB),)), rank=rank)
        for rank, name in enumerate(NODES)
    )
    placement = Placement(
        members=members,
        framework="cuda",
        backend="vllm",
        backend_version="1.0",
        style="mp",
        parallelism={"pp": 2},
    )
    lone = placed(state=S.SCHEDULED, state_time=NOW)
    assert lone.assignment is not None
    assignment = replace(
        lone.assignment,
        gang=gang_members(placement, NODES),
        gang_style="mp",
        parallelism=placement.parallelism,
        restart_on_error=restart,
    )
    return replace(lone, placement=placement, assignment=assignment, gang=new_gang(placement, order), **changes)


def of(instance: Instance, **changes: Any) -> World:
    """The world of one instance."""
    leases = {name: NOW + timedelta(days=1) for name in NODES}
    return world(NODES.values(), [deployment()], [instance], **{"lease_end": leases, **changes})


def seen(before: World, name: str, state: InstanceState, *, now: datetime = NOW, **changes: Any) -> World:
    """The world after a node reported of its member."""
    instance = before.instances[NAME]
    report = Report(assignment_id=instance.uid, generation=instance.generation, state=state, **changes)
    after = observe(instance, report, before.nodes[f"nodes/{name}"], now)
    return replace(before, instances={NAME: after})


def reserved(before: World, *names: str) -> World:
    """The world after members reserved."""
    for name in names or PORTS:
        before = seen(before, name, S.STARTING, message="reserved", ports=PORTS[name])
    return before


def running(before: World, *names: str, now: datetime = NOW) -> World:
    """The world after members run."""
    for name in names or PORTS:
        launch = RenderedLaunch(executor="process", argv=("vllm", name), ports=PORTS[name])
        before = seen(before, name, S.RUNNING, now=now, launch=launch, ports=PORTS[name], pid=ord(name), start_time=NOW)
    return before


def decided(before: World, now: datetime = NOW) -> tuple[World, Decision]:
    """The world after a decision, and the decision."""
    decision = decide(before, now, ids())
    return applied(before, decision), decision


def started(**changes: Any) -> World:
    """A world in which both members run."""
    before, _ = decided(reserved(of(pair(**changes))))
    return running(before)


def told(state: World) -> Mapping[str, Assignment]:
    """What each node is told to run."""
    found = {name[-1]: desired_of(name, state).assignments for name in state.nodes}
    return {name: assignments[0] for name, assignments in found.items() if assignments}


def phases(state: World) -> list[GangPhase | None]:
    return [each.gang_phase for each in told(state).values()]


def test_each_member_is_told_its_own_part_and_all_others() -> None:
    """
    Ranks, claims, addresses and devices differ by node; ports are not told before all have them.
    """
    first, second = told(of(pair())).values()

    assert ((0, "GPU-a"), (1, "GPU-b")) == tuple(
        (each.rank, each.claim.devices[0].device_id) for each in (first, second)
    )
    assert first.gang == second.gang
    assert [("a.example", "10.9.0.0", {}), ("b.example", "10.9.0.1", {})] == [
        (member.address, member.devices[0].address, member.ports) for member in first.gang
    ]
    assert ("mp", {"pp": 2}, 1) == (first.gang_style, first.parallelism, first.generation)


def test_nothing_runs_before_all_have_reserved() -> None:
    """
    With one member's ports nobody is told to run; with both, everybody is, and hears of both.
    """
    half, _ = decided(reserved(of(pair()), "a"))
    assert [GangPhase.RESERVE, GangPhase.RESERVE] == phases(half)
    assert S.SCHEDULED is half.instances[NAME].state

    whole, _ = decided(reserved(half, "b"))
    assert [GangPhase.RUN, GangPhase.RUN] == phases(whole)
    assert [PORTS["a"], PORTS["b"]] == [member.ports for member in told(whole)["b"].gang]
    assert S.STARTING is whole.instances[NAME].state


@pytest.mark.parametrize(
    ("order", "first", "then"),
    [(StartOrder.LEADER_FIRST, "a", "b"), (StartOrder.FOLLOWERS_FIRST, "b", "a")],
)
def test_members_start_in_the_order_of_the_style(order: StartOrder, first: str, then: str) -> None:
    """
    Followers are told to run once the leader has a process, a leader once its followers are ready.
    """
    begun, _ = decided(reserved(of(pair(order=order))))
    assert GangPhase.RUN is told(begun)[first].gang_phase
    assert GangPhase.RESERVE is told(begun)[then].gang_phase

    still, decision = decided(seen(begun, first, S.STARTING, ports=PORTS[first]))
    assert not decision.changes_records
    enough = S.STARTING if first == "a" else S.RUNNING
    after, _ = decided(seen(still, first, enough, ports=PORTS[first], pid=7, start_time=NOW))
    assert [GangPhase.RUN, GangPhase.RUN] == phases(after)


def test_it_runs_when_all_members_do() -> None:
    """
    A leader alone is not enough; with its follower it serves at the leader's address, under the leader's port.
    """
    begun, _ = decided(reserved(of(pair())))
    half = running(begun, "a").instances[NAME]
    whole = running(begun, "b", "a").instances[NAME]

    assert (S.STARTING, "") == (half.state, half.endpoint)
    assert (S.RUNNING, "http://a.example:24000", ord("a")) == (whole.state, whole.endpoint, whole.pid)
    assert "INSTANCE_RUNNING" == getattr(happened(half, whole), "reason", None)


@pytest.mark.promise("P7")
def test_members_that_run_write_nothing() -> None:
    """
    The same reports again change nothing, and nothing is decided.
    """
    state = started()

    assert running(state).instances[NAME] is state.instances[NAME]
    assert not decide(state, NOW + timedelta(seconds=5), ids()).changes_records


FAILURE = Failure(time=NOW, reason="EXITED", message="the engine was ended by signal 9 (SIGKILL)", signal=9)


def failed(before: World, name: str = "b", *, now: datetime = NOW) -> World:
    return seen(before, name, S.ERROR, now=now, message=FAILURE.message, last_failure=FAILURE)


def test_a_member_that_dies_takes_all_down_and_is_named() -> None:
    """
    The next generation begins with reserving on every node, and says which member failed and why.
    """
    broken = failed(started())
    assert (S.ERROR, "") == (broken.instances[NAME].state, broken.instances[NAME].endpoint)
    after, decision = decided(broken)
    instance = after.instances[NAME]

    assert "GANG_STOPPED" in [event.reason for event in decision.events]
    assert [(2, GangPhase.RESERVE), (2, GangPhase.RESERVE)] == [
        (each.generation, each.gang_phase) for each in told(after).values()
    ]
    assert (S.ERROR, 1) == (instance.state, instance.restart_count)
    assert instance.last_failure is not None
    assert "nodes/b (rank 1): the engine was ended by signal 9 (SIGKILL)" == instance.last_failure.message
    assert instance.state_message.startswith("nodes/b (rank 1): ")
    assert "all members are stopped, trying again" in instance.state_message


def test_attempts_are_each_members_own() -> None:
    """
    What a member's node keeps of its attempts stands with that member, and outlives a new generation by its next word.
    """
    failure = Failure(time=NOW, reason="EXITED", message="it ended", exit_code=1)
    attempt = Attempt(number=1, failure=failure, executed=True)
    state = seen(started(), "b", S.RUNNING, attempt=2, attempts=(attempt,))
    instance = state.instances[NAME]
    assert instance.gang is not None

    assert [(0, ()), (2, (attempt,))] == [(each.attempt, each.attempts) for each in instance.gang.members]
    assert (0, ()) == (instance.attempt, instance.attempts)
    assert instance == decode(encode(instance), Instance)


def test_reports_of_the_generation_before_change_nothing() -> None:
    """
    What still ends, or ended, of the last generation says nothing of this one.
    """
    after, _ = decided(failed(started()))
    instance = after.instances[NAME]
    late = Report(assignment_id=instance.uid, generation=1, state=S.ERROR, message="also dead", last_failure=FAILURE)

    assert observe(instance, late, NODES["nodes/a"], NOW) is instance


def test_another_process_in_a_members_place_is_a_failure() -> None:
    """
    An agent whose data was lost starts its member afresh; the others never hear of it, so all begin again.
    """
    joined = seen(started(), "b", S.RUNNING, ports=PORTS["b"], pid=7, pid_start_ticks=70, start_time=NOW)
    afresh = seen(joined, "b", S.STARTING, ports=PORTS["b"], pid=8, pid_start_ticks=80, start_time=NOW)
    after, _ = decided(afresh)

    assert 2 == after.instances[NAME].generation
    assert after.instances[NAME].last_failure is not None
    assert "MEMBER_REPLACED" == getattr(after.instances[NAME].last_failure, "reason", "")


def test_restarts_back_off_and_are_forgotten_when_it_runs_well() -> None:
    """
    At once, then after ten seconds, then twenty; after a minute of running it counts from the beginning.
    """
    state, now = started(), NOW
    for restarts, delay in ((1, 0), (2, 10), (3, 20)):
        state, _ = decided(failed(state, now=now), now)
        assert restarts == state.instances[NAME].restart_count
        state, decision = decided(reserved(state), now)
        if delay:
            assert decision.wake_at == now + timedelta(seconds=delay)
            assert [GangPhase.RESERVE, GangPhase.RESERVE] == phases(state)
            assert S.ERROR is state.instances[NAME].state
            now += timedelta(seconds=delay)
            state, _ = decided(state, now)
        assert [GangPhase.RUN, GangPhase.RUN] == phases(state)
        state = running(state, now=now)
    soon, decision = decided(state, now)
    assert (now + timedelta(seconds=60), 3) == (decision.wake_at, soon.instances[NAME].restart_count)
    later, _ = decided(soon, now + timedelta(seconds=60))
    assert (0, None) == (later.instances[NAME].restart_count, later.instances[NAME].first_failure)


def test_without_restarts_all_are_stopped_and_none_begins() -> None:
    """
    A deployment that wants no restarts still has no half of an instance left.
    """
    after, _ = decided(failed(started(restart=False)))
    after, decision = decided(reserved(after), NOW + timedelta(hours=1))

    assert [GangPhase.RESERVE, GangPhase.RESERVE] == phases(after)
    assert (2, S.ERROR, None) == (
        after.instances[NAME].generation,
        after.instances[NAME].state,
        after.instances[NAME].next_try_time,
    )
    assert not decision.changes_records


def test_a_member_that_cannot_reserve_fails_it_before_anything_runs() -> None:
    """
    What is missing on one node is told with its name; the others go on holding nothing but ports.
    """
    missing = Failure(
        time=NOW, reason="MODEL_NOT_FOUND", message="/models/x does not exist on this node; copy it there"
    )
    state = seen(reserved(of(pair()), "a"), "b", S.ERROR, message=missing.message, last_failure=missing)
    after, _ = decided(state)

    assert [GangPhase.RESERVE, GangPhase.RESERVE] == phases(after)
    failure = after.instances[NAME].last_failure
    assert failure is not None
    assert "nodes/b (rank 1): /models/x does not exist" in failure.message


def test_reserving_is_tried_again_with_pauses() -> None:
    """
    A member that cannot reserve is asked again at once, and then after 10 s and more: never in a loop.
    """
    missing = Failure(time=NOW, reason="MODEL_NOT_FOUND", message="/models/x does not exist on this node")

    def cannot(before: World, now: datetime) -> tuple[World, Decision]:
        return decided(seen(before, "b", S.ERROR, now=now, message=missing.message, last_failure=missing), now)

    state, _ = cannot(of(pair()), NOW)
    state, _ = cannot(state, NOW)
    assert 3 == state.instances[NAME].generation

    waiting, decision = cannot(state, NOW)
    assert (3, S.ERROR) == (waiting.instances[NAME].generation, waiting.instances[NAME].state)
    assert NOW + timedelta(seconds=10) == decision.wake_at
    assert not decide(waiting, NOW + timedelta(seconds=9), ids()).changes_records

    again, _ = decided(waiting, NOW + timedelta(seconds=10))
    assert (4, [GangPhase.RESERVE, GangPhase.RESERVE]) == (again.instances[NAME].generation, phases(again))


def test_reserving_is_not_tried_again_where_nobody_wants_it() -> None:
    """
    Without restarts a member that cannot reserve is asked once more, to stop the others, and never again.
    """
    missing = Failure(time=NOW, reason="MODEL_NOT_FOUND", message="/models/x does not exist on this node")
    state = of(pair(restart=False))
    for _ in range(2):
        state, _ = decided(seen(state, "b", S.ERROR, message=missing.message, last_failure=missing))

    assert not decide(state, NOW + timedelta(hours=1), ids()).changes_records
    assert (2, S.ERROR) == (state.instances[NAME].generation, state.instances[NAME].state)


def test_members_that_are_not_alike_are_told_apart_before_anything_runs() -> None:
    """
    Where versions of what has to be the same differ, the member, both versions and the remedy are told.
    """
    state = seen(of(pair()), "a", S.STARTING, ports=PORTS["a"], parts={"python": "3.11.7", "ray": "2.60.0"})
    state = seen(state, "b", S.STARTING, ports=PORTS["b"], parts={"python": "3.12.1", "ray": "2.60.0"})
    after, decision = decided(state)

    assert [GangPhase.RESERVE, GangPhase.RESERVE] == phases(after)
    assert S.ERROR is after.instances[NAME].state
    failure = after.instances[NAME].last_failure
    assert failure is not None
    assert ("MEMBERS_DIFFER", None) == (failure.reason, failure.exit_code)
    assert (
        "nodes/b (rank 1): it has python 3.12.1, and nodes/a (rank 0) has python 3.11.7; install the same on all of "
        "its nodes" == failure.message
    )
    assert ["GANG_STOPPED"] == [event.reason for event in decision.events]


@pytest.mark.parametrize("other", [{}, {"python": "3.11.7"}, {"cuda": "12.9"}])
def test_what_a_member_does_not_tell_is_not_compared(other: Mapping[str, str]) -> None:
    """
    An unknown version is no other one.
    """
    state = seen(of(pair()), "a", S.STARTING, ports=PORTS["a"], parts={"python": "3.11.7", "ray": "2.60.0"})
    after, _ = decided(seen(state, "b", S.STARTING, ports=PORTS["b"], parts=other))

    assert [GangPhase.RUN, GangPhase.RUN] == phases(after)


def lost(before: World, name: str) -> World:
    nodes = {**before.nodes, name: replace(before.nodes[name], state=NodeState.UNREACHABLE, state_time=NOW)}
    return replace(before, nodes=nodes, connected=before.connected - {name}, lease_end={**before.lease_end, name: NOW})


@pytest.mark.promise("P3")
def test_a_lost_node_stops_nothing_before_it_is_replaced() -> None:
    """
    Unreachable while one node is: a member's own end changes nothing then, as nobody can stop the other one.
    """
    state, _ = decided(lost(started(), "nodes/b"))
    assert S.UNREACHABLE is state.instances[NAME].state
    assert [1, 1] == [each.generation for each in told(state).values()]

    state, decision = decided(failed(state, "a"))
    assert (S.UNREACHABLE, 1) == (state.instances[NAME].state, state.instances[NAME].generation)
    assert "GANG_STOPPED" not in [event.reason for event in decision.events]


@pytest.mark.promise("P1")
def test_a_node_that_returns_with_its_member_changes_nothing_else() -> None:
    """
    The member that ran on is reported, and the instance runs as before, in the same generation.
    """
    state, _ = decided(lost(started(), "nodes/b"))
    back = replace(
        state, nodes=NODES, connected=frozenset(NODES), lease_end={name: NOW + timedelta(60) for name in NODES}
    )
    back = running(back, "b")

    assert (S.RUNNING, 1) == (back.instances[NAME].state, back.instances[NAME].generation)
    assert not decide(back, NOW, ids()).changes_records


def test_a_replaced_instance_gives_back_what_each_node_confirms() -> None:
    """
    With one node lost, the other's part is free as soon as that node has nothing of it; the row stays for the lost one.
    """
    state, _ = decided(lost(started(), "nodes/b"))
    late = NOW + timedelta(seconds=301)
    state, _ = decided(replace(state, lease_end={"nodes/a": late + timedelta(60), "nodes/b": NOW}), late)
    old = state.instances[NAME]
    assert old.stop_time is not None
    assert [1] == [each.generation for each in desired_of("nodes/a", state).tombstones]

    state, _ = decided(replace(state, gone_on={"nodes/a": frozenset({old.uid})}), late)
    placement = state.instances[NAME].placement
    assert placement is not None
    assert ["nodes/b"] == [member.node for member in placement.members]


def test_a_gang_is_the_same_after_it_was_stored() -> None:
    """
    What is known of members survives the controller.
    """
    instance = started().instances[NAME]

    assert instance == decode(encode(instance), Instance)


def back(before: World, name: str) -> World:
    nodes = {**before.nodes, name: NODES[name]}
    leases = {**before.lease_end, name: NOW + timedelta(days=1)}
    return replace(before, nodes=nodes, connected=before.connected | {name}, lease_end=leases)


def test_members_that_run_already_are_taken_as_they_are() -> None:
    """
    A controller whose store is of a moment before is told that all members run: it tells them to, and they serve.
    """
    state = of(pair())
    for name in "ab":
        report = Report(
            assignment_id=state.instances[NAME].uid,
            generation=state.instances[NAME].generation,
            state=S.RUNNING,
            message="",
            ports=PORTS[name],
            pid=7,
            start_time=NOW,
        )
        seen = observe(state.instances[NAME], report, state.nodes[f"nodes/{name}"], NOW)
        state, _ = decided(replace(state, instances={NAME: seen}), NOW)

    instance = state.instances[NAME]
    assert instance.gang is not None
    assert instance.state is S.RUNNING
    assert {member.told for member in instance.gang.members} == {GangPhase.RUN}


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, str, InstanceState, bool]]:
    """What may come in any order: reports of this generation and of the one before, nodes lost and back, time."""
    kinds = st.sampled_from(["report"] * 6 + ["lost", "back", "wait"])
    states = st.sampled_from([S.STARTING, S.STARTING, S.RUNNING, S.ERROR, S.DOWNLOADING])
    return draw(st.lists(st.tuples(kinds, st.sampled_from("ab"), states, st.booleans()), max_size=30))


@pytest.mark.promise("P3")
@given(histories(), st.sampled_from(StartOrder), st.booleans())
def test_whatever_comes_in_whatever_order_it_is_all_or_nothing(
    history: list[tuple[str, str, InstanceState, bool]], order: StartOrder, restart: bool
) -> None:
    """
    Nobody runs before all have reserved, RUN is never taken back, and a generation ends by a member's failure alone.
    """
    state, now = of(pair(order=order, restart=restart)), NOW
    for kind, name, reported, late in history:
        before = state
        instance = before.instances[NAME]
        if kind == "lost":
            state = lost(before, f"nodes/{name}")
        elif kind == "back":
            state = back(before, f"nodes/{name}")
        elif kind == "wait":
            now += timedelta(seconds=30)
        else:
            generation = instance.generation - late
            report = Report(
                assignment_id=instance.uid,
                generation=generation,
                state=reported,
                message="as it says",
                ports=PORTS[name],
                pid=7,
                start_time=NOW if reported is S.RUNNING else None,
                last_failure=FAILURE if reported is S.ERROR else None,
            )
            after = observe(instance, report, before.nodes[f"nodes/{name}"], now)
            state = replace(before, instances={NAME: after})
        could_fail = state.instances[NAME].gang
        state, _ = decided(state, now)
        if NAME not in state.instances or state.instances[NAME].stop_time is not None:
            return  # replaced, as a node was away for too long
        _hold(before.instances[NAME], state.instances[NAME], could_fail, now)


def _hold(before: Instance, after: Instance, reported: Gang | None, now: datetime) -> None:
    assert before.gang is not None
    assert after.gang is not None
    assert reported is not None
    states = [member.state for member in reported.members]
    told = [member.told for member in after.gang.members]
    # What only reserves is not stopped by beginning again: that waits until it is time, if it ever is.
    may_run = any(member.told is GangPhase.RUN for member in reported.members)
    due = not reported.halted and (reported.retry_time is None or reported.retry_time <= now)
    fails = S.ERROR in states and S.UNREACHABLE not in states and (may_run or due)
    assert after.generation - before.generation == int(fails)
    if GangPhase.RUN in told:
        assert all(member.ports for member in after.gang.members)
    if after.generation == before.generation:
        kept = zip(before.gang.members, after.gang.members, strict=True)
        assert all(new.told is GangPhase.RUN for old, new in kept if old.told is GangPhase.RUN)
    running = {member.state for member in after.gang.members} == {S.RUNNING}
    assert (after.state is S.RUNNING) == running
