"""A changed spec, replaced instance by instance; and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from motorpool_controller.domain.groups import nodes_of
from motorpool_controller.domain.rollouts import restored
from motorpool_controller.domain.sizes import GIB, MIB
from motorpool_controller.domain.specs import revised
from motorpool_controller.domain.workload import (
    Deployment,
    Instance,
    InstanceState,
    RolloutState,
    RolloutStrategy,
)
from motorpool_controller.reconcile.agenda import Agenda, Changes
from motorpool_controller.reconcile.decide import decide
from motorpool_controller.reconcile.desired import desired_of
from motorpool_controller.reconcile.observe import observe
from motorpool_controller.reconcile.world import Report, Settings, World
from motorpool_controller.scheduling.snapshot import Touched
from tests.controller.fleets import NOW, applied, deployment, ids, node, placed, spec, usage, world
from tests.controller.reconcile.deciding import failing, reasons, running, settled

S = InstanceState
NAME = "deployments/chat"
NEW = ("-c", "4096")


def changed(start: World, **changes: Any) -> World:
    """The world with another spec of the deployment."""
    before = start.deployments[NAME]
    return with_deployment(start, revised(before, replace(before.spec, **changes), NOW))


def with_deployment(start: World, deployment: Deployment) -> World:
    return replace(start, deployments={NAME: deployment})


def undone(start: World, number: int | None = None) -> World:
    """The world returned to a former spec."""
    before = start.deployments[NAME]
    return with_deployment(start, revised(before, restored(before, number), NOW))


def confirmed(start: World) -> World:
    """The world once nodes have confirmed every stop."""
    return settled(replace(start, gone=frozenset(each.uid for each in start.instances.values() if each.stop_time)))


def serving(start: World) -> list[Instance]:
    return [each for each in start.instances.values() if each.state is S.RUNNING and each.stop_time is None]


def of_new(start: World) -> list[Instance]:
    """Instances of the present spec that are not being stopped."""
    number = start.deployments[NAME].template_generation
    return [each for each in start.instances.values() if each.template_generation == number and each.stop_time is None]


def state(start: World) -> RolloutState | None:
    rollout = start.deployments[NAME].rollout
    return None if rollout is None else rollout.state


def two_running() -> World:
    return running(settled(world([node("a"), node("b")], [deployment(replicas=2)])))


def full(**changes: Any) -> World:
    """One node that one instance fills, and a new spec."""
    a = node(memory=GIB)
    start = world(
        [a],
        [deployment()],
        [placed(memory=800 * MIB, template_generation=1)],
        usage={a.name: usage(a, own=700 * MIB)},
    )
    return changed(start, parameters=NEW, **changes)


def test_instances_are_replaced_one_by_one() -> None:
    """
    At no moment fewer serve than are wished, or more than one more stands; at the end all are of the new spec.
    """
    now = settled(changed(two_running(), parameters=NEW))
    seen = [(len(serving(now)), len(of_new(now)))]
    while state(now) is not RolloutState.COMPLETE:
        now = confirmed(settled(running(now)))
        seen.append((len(serving(now)), len(of_new(now))))
        assert len(seen) < 6

    assert [(2, 1), (2, 2), (2, 2)] == seen
    assert {"deployments/chat"} == {each.deployment for each in serving(now)}


def test_an_old_instance_goes_only_when_a_new_one_is_ready() -> None:
    """
    While the new instance starts, nothing is stopped.
    """
    now = settled(changed(two_running(), parameters=NEW))

    assert [None] * 3 == [each.stop_time for each in now.instances.values()]
    assert state(now) is RolloutState.PROGRESSING


def test_a_new_instance_that_fails_stops_the_rollout() -> None:
    """
    The former instances go on serving, no further one is made, and it is said once, with the failure and the way back.
    """
    now = settled(changed(two_running(), parameters=NEW))
    (new,) = of_new(now)
    failed = failing(now, new.name)
    decision = decide(failed, NOW, ids())
    after = applied(failed, decision)
    rollout = after.deployments[NAME].rollout

    assert ["ROLLOUT_STOPPED"] == reasons(decision)
    assert rollout is not None
    assert rollout.state is RolloutState.FAILED
    assert rollout.message == (
        f"{new.name}, of revision 2, failed: no such option; 2 of the former go on serving. It is tried again by "
        "itself; `motorpool rollout undo chat` returns to the former spec."
    )
    assert 2 == len(serving(after))
    assert not decide(after, NOW, ids()).changes_records


def test_a_new_instance_that_failed_counts_once_it_ran_well() -> None:
    """
    One that came up at its second try takes nobody's place before its failure is forgotten.
    """
    now = settled(changed(two_running(), parameters=NEW))
    (new,) = of_new(now)
    up_again = settled(running(failing(now, new.name), new.name))
    well = {**up_again.instances, new.name: replace(up_again.instances[new.name], first_failure=None)}

    assert [] == [each for each in up_again.instances.values() if each.stop_time]
    assert state(up_again) is RolloutState.FAILED
    assert 1 == len([each for each in settled(replace(up_again, instances=well)).instances.values() if each.stop_time])


def test_undo_keeps_the_instances_that_still_stand() -> None:
    """
    Back at the former spec, its instances are not replaced, and the one that failed is stopped.
    """
    now = settled(changed(two_running(), parameters=NEW))
    (new,) = of_new(now)
    before = {each.name for each in serving(now)}
    after = settled(undone(failing(now, new.name)))

    assert before == {each.name for each in serving(after)}
    assert {new.name} == {each.name for each in after.instances.values() if each.stop_time}
    assert state(after) is RolloutState.COMPLETE
    assert (3, 1) == (after.deployments[NAME].generation, after.deployments[NAME].template_generation)


def test_undo_after_completion_rolls_back_and_again_forward() -> None:
    """
    Undo returns to the spec before, one by one; a second one returns to the other again.
    """
    now = two_running()
    for parameters in (NEW, (), NEW):
        now = (
            changed(now, parameters=NEW)
            if parameters is NEW and len(now.deployments[NAME].former) == 0
            else undone(now)
        )
        while state(now) is not RolloutState.COMPLETE:
            now = confirmed(settled(running(settled(now))))
        assert parameters == now.deployments[NAME].spec.parameters
        assert 2 == len(of_new(now))


def test_instances_of_before_revisions_were_kept_are_replaced_too() -> None:
    """
    An instance that a former controller made, which kept no revision of it, counts by its generation.
    """
    start = world([node()], [deployment()], [placed()])
    after = confirmed(settled(running(settled(changed(start, parameters=NEW)))))

    assert "instances/chat-1" not in after.instances
    assert state(after) is RolloutState.COMPLETE


def test_without_room_the_old_goes_on_and_it_is_said() -> None:
    """
    A new instance that has no place beside the old one waits; the rollout says so, and what to do.
    """
    start = full()
    decision = decide(start, NOW, ids())
    after = settled(start)
    rollout = after.deployments[NAME].rollout

    assert "ROLLOUT_NO_ROOM" in reasons(decision)
    assert after.instances["instances/chat-1"].stop_time is None
    assert rollout is not None
    assert rollout.state is RolloutState.NO_ROOM
    assert "`motorpool update chat --replace`" in rollout.message


def test_without_room_the_old_goes_first_where_that_is_wished() -> None:
    """
    With the strategy to replace, the old one is stopped, since the new one fits in its place.
    """
    after = settled(full(rollout_strategy=RolloutStrategy.REPLACE))
    a = after.nodes["nodes/a"]
    freed = replace(after, gone=frozenset({"uid-chat-1"}), usage={a.name: usage(a)})

    assert after.instances["instances/chat-1"].state is S.STOPPING
    assert state(after) is RolloutState.PROGRESSING
    (new,) = settled(freed).instances.values()
    assert new.state is S.SCHEDULED


def test_the_strategy_may_be_changed_while_it_waits() -> None:
    """
    A rollout without room goes on when it is told to replace, and makes no third kind of instance.
    """
    waiting = settled(full())
    after = settled(changed(waiting, rollout_strategy=RolloutStrategy.REPLACE))

    assert after.instances["instances/chat-1"].state is S.STOPPING
    assert {1, 2} == {each.template_generation for each in after.instances.values()}


def test_an_old_instance_that_failed_makes_room() -> None:
    """
    One that serves nobody gives its place away though the strategy keeps what serves.
    """
    start = full()
    after = settled(failing(start, "instances/chat-1"))

    assert after.instances["instances/chat-1"].stop_time is not None


@pytest.mark.promise("P3")
def test_an_impossible_new_spec_stops_nothing() -> None:
    """
    A replacement that fits nowhere, not even in its predecessor's place, leaves it running, whatever the strategy.
    """
    a = node(memory=GIB)
    start = world([a], [deployment()], [placed(memory=800 * MIB)])
    after = settled(changed(start, parameters=("-c", "999999"), rollout_strategy=RolloutStrategy.REPLACE))
    rollout = after.deployments[NAME].rollout

    assert after.instances["instances/chat-1"].state is S.RUNNING
    assert rollout is not None
    assert rollout.state is RolloutState.NO_ROOM
    assert "not even that of a former one" in rollout.message


@pytest.mark.promise("P3", "P4")
def test_a_new_spec_that_cannot_be_placed_is_not_told_to_want_room() -> None:
    """
    What is wrong with it is said, and how to return; freeing memory would not help. What served goes on.
    """
    start = world([node()], [deployment()], [placed()])
    wrong = changed(start, backend="nobody-has-it")
    decision = decide(wrong, NOW, ids())
    after = settled(wrong)
    rollout = after.deployments[NAME].rollout

    assert "ROLLOUT_UNPLACEABLE" in reasons(decision)
    assert rollout is not None
    assert rollout.state is RolloutState.UNPLACEABLE
    assert "not for want of room" in rollout.message
    assert "nobody_has_it" in rollout.message
    assert "`motorpool rollout undo chat`" in rollout.message
    assert after.instances["instances/chat-1"].state is S.RUNNING


def test_making_room_has_nobody_else_tried_again() -> None:
    """
    What was found to fit nowhere is not tried again because it was looked at what would be without an old instance.
    """
    start = full(rollout_strategy=RolloutStrategy.REPLACE)
    other = replace(deployment("other"), spec=spec(parameters=("-c", "500000")))
    big = revised(start.deployments[NAME], replace(start.deployments[NAME].spec, parameters=("-c", "999999")), NOW)
    agenda = Agenda()
    fresh = ids()
    now = replace(start, deployments={NAME: big, other.name: other}, agenda=agenda)
    for _ in range(4):
        now = applied(now, decide(now, NOW, fresh))
        now = replace(now, changes=Changes(rows=Touched(), leases=False))
    pending = [each for each in now.instances.values() if each.placement is None]

    assert 2 == len(pending)
    for each in pending:
        assert agenda.is_refused(each.name, now.deployments[each.deployment].spec)


def test_scaling_in_the_middle_keeps_what_serves() -> None:
    """
    Scaled down while it waits for a new instance, a deployment loses an old one that serves, and no more.
    """
    now = settled(changed(two_running(), parameters=NEW))
    (new,) = of_new(now)
    before = now.deployments[NAME]
    scaled = settled(with_deployment(now, revised(before, replace(before.spec, replicas=1), NOW)))

    assert 1 == len(serving(scaled))
    assert scaled.instances[new.name].stop_time is None


@pytest.mark.parametrize(("own", "seconds"), [(None, 10), (30.0, 30)])
def test_an_instance_leaves_the_endpoints_before_it_stops(own: float | None, seconds: int) -> None:
    """
    One that is replaced gets no new requests for the time set, though its agent reports that it runs, and then stops:
    the deployment's own time, else the controller's.
    """
    settings = Settings(drain_seconds=10)
    start = changed(replace(two_running(), settings=settings), drain_seconds=own)
    assert start.deployments[NAME].rollout is None
    instances = {name: replace(each, endpoint="http://x") for name, each in start.instances.items()}
    now = settled(running(settled(changed(replace(start, instances=instances), parameters=NEW))))
    (leaving,) = [each for each in now.instances.values() if each.leaves]
    (node_name,) = nodes_of(leaving)
    report = Report(assignment_id=leaving.uid, generation=leaving.generation, state=S.RUNNING)
    before, after = NOW + timedelta(seconds=seconds - 1), NOW + timedelta(seconds=seconds)

    assert (S.STOPPING, "", None) == (leaving.state, leaving.endpoint, leaving.stop_time)
    assert S.STOPPING is observe(leaving, report, now.nodes[node_name], NOW).state
    assert leaving.assignment in desired_of(node_name, now).assignments
    assert decide(now, before, ids()).wake_at == after
    stopped = applied(now, decide(now, after, ids()))
    assert after == stopped.instances[leaving.name].stop_time
    assert [leaving.uid] == [each.assignment_id for each in desired_of(node_name, stopped).tombstones]


def test_what_serves_nobody_stops_at_once() -> None:
    """
    A failed instance that is one too many has no requests to be kept from.
    """
    start = replace(two_running(), settings=Settings(drain_seconds=10))
    before = start.deployments[NAME]
    failed = failing(start, min(start.instances))
    scaled = settled(with_deployment(failed, revised(before, replace(before.spec, replicas=1), NOW)))

    assert NOW == scaled.instances[min(start.instances)].stop_time


def test_what_instances_are_not_made_of_replaces_none() -> None:
    """
    To wait longer for lost nodes is no other spec of the instances, and a return to a former spec leaves it.
    """
    start = settled(world([node("a")], [deployment()]))
    patient = changed(start, reschedule_after_seconds=-1.0).deployments[NAME]
    other = changed(changed(start, parameters=NEW), reschedule_after_seconds=-1.0)

    assert start.deployments[NAME].template_generation == patient.template_generation
    assert undone(other).deployments[NAME].spec.reschedule_after_seconds == -1.0
