from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from motorpool_controller.domain.declarations import Definition
from motorpool_controller.domain.fleet import NodeState
from motorpool_controller.domain.sizes import GIB, MIB
from motorpool_controller.domain.specs import revised
from motorpool_controller.domain.workload import Instance, InstanceState
from motorpool_controller.reconcile.decide import decide
from motorpool_controller.reconcile.desired import desired_of
from motorpool_controller.reconcile.world import Reading, World
from tests.controller.fleets import NOW, PATH, applied, deployment, ids, node, placed, spec, usage, world
from tests.controller.reconcile.deciding import reasons, running, settled

S = InstanceState


def test_a_deployment_gets_its_instances_and_they_their_assignments() -> None:
    """
    Two replicas are created, placed on the two nodes, and each node is told all that a launch needs.
    """
    start = world([node("a"), node("b")], [deployment(replicas=2, parameters=("-c", "4096", "--metrics"))])
    after = settled(start)
    told = desired_of("nodes/a", after)

    assert sorted(each.state for each in after.instances.values()) == [S.SCHEDULED, S.SCHEDULED]
    (assignment,) = told.assignments
    assert told.tombstones == ()
    assert (assignment.context_length, assignment.parallel, assignment.offloaded_layers) == (4096, 1, 0)
    assert [parameter.option for parameter in assignment.parameters] == ["metrics"]
    assert (assignment.api_key, assignment.served_model_name) == ("sk-secret", "chat")
    assert "sk-secret" not in repr(assignment)
    assert after.deployments["deployments/chat"].estimate is not None


def test_what_an_assignment_does_not_state_the_user_still_says() -> None:
    """
    Of a model that nobody can read, placed by a claim by hand, no context is known: the engine is given the user's.
    """
    unreadable = Reading(error_reason="MODEL_FORMAT_UNKNOWN", error_message="of no known format")
    wish = deployment(parameters=("-c", "4096", "--metrics"), claim_memory_bytes=GIB)
    (assignment,) = desired_of(
        "nodes/a", settled(world([node()], [wish], readings={("nodes/a", PATH): unreadable}))
    ).assignments

    assert assignment.context_length is None
    assert ["ctx-size", "metrics"] == [parameter.option for parameter in assignment.parameters]


@pytest.mark.promise("P4")
def test_a_pending_instance_has_rows_from_its_first_moment() -> None:
    """
    Before the model was read, the row says so, and the question is asked.
    """
    decision = decide(world([node()], [deployment()], readings={}), NOW, ids())
    (instance,) = decision.put_instances

    assert instance.state is S.PENDING
    assert [row.reason for row in instance.refusals] == ["MODEL_NOT_READ_YET"]
    assert decision.questions == (("nodes/a", PATH),)


def test_what_is_not_decided_yet_is_no_event() -> None:
    """
    While one node reads the model, it is not told that another one cannot take it; when nothing else is left, it is.
    """
    start = world([node("a", cordoned=True), node("b")], [deployment()], readings={})
    asked = decide(start, NOW, ids())
    unread = Reading(error_reason="MODEL_NOT_FOUND", error_message="there is no such file")
    answered = decide(replace(applied(start, asked), readings={("nodes/b", PATH): unread}), NOW, ids())

    assert {"NODE_CORDONED", "MODEL_NOT_READ_YET"} == {row.reason for row in asked.put_instances[0].refusals}
    assert not [event for event in asked.events if "is not placed" in event.message]
    assert ["NODE_CORDONED"] == [event.reason for event in answered.events if "is not placed" in event.message]


@pytest.mark.promise("P7")
def test_a_fleet_at_rest_decides_nothing() -> None:
    """
    With instances that run, and others that wait for memory while usage breathes, there is nothing to record.
    """
    a = node(memory=GIB)
    start = settled(world([a], [deployment(replicas=2)]))
    assert sorted(each.state for each in start.instances.values()) == [S.PENDING, S.SCHEDULED]
    start = running(start)

    for foreign in (0, 20 * MIB, 5 * MIB):
        breathing = replace(start, usage={a.name: usage(a, foreign=foreign, own=300 * MIB)})
        decision = decide(breathing, NOW + timedelta(seconds=5), ids())
        assert not decision.changes_records, decision


def test_memory_that_is_freed_places_what_waited() -> None:
    """
    As soon as an instance is gone, the next one has its place.
    """
    a = node(memory=GIB)
    start = running(settled(world([a], [deployment(replicas=2)])))
    first = next(each for each in start.instances.values() if each.placement)
    smaller = replace(start, deployments={"deployments/chat": deployment(replicas=2)})
    gone = replace(
        smaller,
        instances={name: each for name, each in start.instances.items() if name != first.name},
    )
    after = applied(gone, decide(gone, NOW, ids()))

    assert S.SCHEDULED in {each.state for each in after.instances.values()}


def test_more_and_fewer_replicas_leave_the_others_be() -> None:
    """
    Scaling down stops the least useful; those that stay are untouched.
    """
    one = placed("chat-1", memory=MIB)
    two = placed("chat-2", memory=MIB, state=S.STARTING)
    start = world([node()], [deployment(replicas=1, generation=2)], [one, two])
    decision = decide(start, NOW, ids())

    (stopped,) = decision.put_instances
    assert (stopped.name, stopped.state, stopped.stop_time) == (two.name, S.STOPPING, NOW)
    assert decision.delete_instances == ()


def test_a_pending_instance_is_forgotten_at_once() -> None:
    """
    What was never placed has nothing to be stopped.
    """
    waiting = Instance(
        name="instances/chat-1",
        uid="u1",
        deployment="deployments/chat",
        deployment_generation=1,
        create_time=NOW,
        state_time=NOW,
    )
    decision = decide(world([node()], [deployment(replicas=0)], [waiting]), NOW, ids())

    assert decision.delete_instances == (waiting.name,)


def test_a_deleted_deployment_goes_when_its_last_instance_is_gone() -> None:
    """
    Deletion stops instances by tombstone, keeps their rows until the node confirms, and only then forgets.
    """
    start = world([node()], [deployment(delete_time=NOW)], [placed()])
    stopping = applied(start, decide(start, NOW, ids()))
    told = desired_of("nodes/a", stopping)
    waits = decide(stopping, NOW, ids())
    confirmed = decide(replace(stopping, gone=frozenset({"uid-chat-1"})), NOW, ids())

    assert told.assignments == ()
    assert [tombstone.assignment_id for tombstone in told.tombstones] == ["uid-chat-1"]
    assert not waits.changes_records
    assert confirmed.delete_instances == ("instances/chat-1",)
    assert confirmed.delete_deployments == ("deployments/chat",)


def test_a_new_spec_starts_the_new_before_it_stops_the_old() -> None:
    """
    Where there is room for both, an old instance goes when its replacement runs.
    """
    changed = revised(deployment(), spec(parameters=("-c", "4096")), NOW)
    start = settled(world([node()], [changed], [placed()]))
    old = start.instances["instances/chat-1"]
    assert old.stop_time is None
    assert len(start.instances) == 2

    after = settled(running(start))
    assert after.instances["instances/chat-1"].state is S.STOPPING
    (new,) = [each for each in after.instances.values() if each.stop_time is None]
    assert new.assignment is not None
    assert new.assignment.context_length == 4096
    assert old.assignment == after.instances["instances/chat-1"].assignment


@pytest.mark.promise("P3")
def test_an_impossible_new_spec_stops_nothing() -> None:
    """
    A replacement that fits nowhere, not even in its predecessor's place, leaves the predecessor running.
    """
    a = node(memory=GIB)
    changed = revised(deployment(), spec(parameters=("-c", "999999")), NOW)
    after = settled(world([a], [changed], [placed(memory=800 * MIB)]))

    assert after.instances["instances/chat-1"].state is S.RUNNING


def test_nothing_changes_what_a_standing_instance_was_told() -> None:
    """
    A profile that disappears, a new spec and new facts leave the assignment as it was.
    """
    start = running(settled(world([node()], [deployment()])))
    before = desired_of("nodes/a", start)
    changed = revised(start.deployments["deployments/chat"], spec(env={"A": "b"}), NOW)
    after = replace(start, profiles={}, readings={}, deployments={changed.name: changed})

    assert desired_of("nodes/a", after) == before


def test_a_node_in_session_is_ready_and_one_past_its_lease_unreachable() -> None:
    """
    Sessions make nodes ready; leases that ran out make them and their instances unreachable; neither does neither.
    """
    start = world(
        [node("a", state=NodeState.ENROLLED), node("b"), node("c")],
        [deployment()],
        [placed(on="b")],
        connected=frozenset({"nodes/a"}),
        lease_end={"nodes/a": NOW + timedelta(seconds=40), "nodes/b": NOW},
    )
    decision = decide(start, NOW, ids())

    assert [(each.name, each.state) for each in decision.put_nodes] == [
        ("nodes/a", NodeState.READY),
        ("nodes/b", NodeState.UNREACHABLE),
    ]
    assert [each.state for each in decision.put_instances] == [S.UNREACHABLE]
    assert reasons(decision) == ["NODE_READY", "NODE_UNREACHABLE"]


def lost(*, minutes: float = 10, **changes: object) -> World:
    a = node("a", state=NodeState.UNREACHABLE, state_time=NOW - timedelta(minutes=minutes))
    instance = placed(state=S.UNREACHABLE, state_time=NOW - timedelta(minutes=minutes))
    start = world([a, node("b")], [deployment()], [instance], lease_end={"nodes/a": NOW - timedelta(minutes=minutes)})
    return replace(start, **changes)  # type: ignore[arg-type]  # fields of the world


@pytest.mark.promise("P3")
def test_a_lost_instance_is_replaced_and_its_row_kept_for_the_tombstone() -> None:
    """
    After reschedule_after a replacement is placed elsewhere; the old row stays, and its node is told on return (A27).
    """
    after = settled(lost())
    old = after.instances["instances/chat-1"]
    (new,) = [each for each in after.instances.values() if each.name != old.name]

    assert (old.state, old.stop_time) == (S.UNREACHABLE, NOW)
    assert new.placement is not None
    assert new.placement.members[0].node == "nodes/b"
    assert [each.assignment_id for each in desired_of("nodes/a", after).tombstones] == [old.uid]

    back = settled(
        replace(after, connected=frozenset({"nodes/a", "nodes/b"}), lease_end={"nodes/a": NOW + timedelta(seconds=40)})
    )
    assert back.instances[old.name].state is S.STOPPING


@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    "world_now",
    [
        lost(minutes=4),
        lost(deployments={"deployments/chat": deployment(reschedule_after_seconds=-1.0)}),
        lost(lease_end={}),
        lost(lease_end={"nodes/a": NOW + timedelta(seconds=40)}),
        lost(
            nodes={
                "nodes/a": node("a", state=NodeState.UNREACHABLE, state_time=NOW - timedelta(minutes=4)),
                "nodes/b": node("b"),
            }
        ),
    ],
    ids=["too early", "never", "no lease known", "controller just started", "node was back for a moment"],
)
def test_a_lost_instance_is_not_replaced_before_its_time(world_now: World) -> None:
    """
    Before reschedule_after, with "never", or while a fresh controller gives nodes time, nothing is replaced.
    """
    assert not decide(world_now, NOW, ids()).changes_records


@pytest.mark.promise("P3")
@pytest.mark.parametrize(("seconds", "replaced"), [(0.0, True), (300.0, False), (-1.0, False)])
def test_how_long_a_lost_node_keeps_its_instances(seconds: float, replaced: bool) -> None:
    """
    With 0 an instance is replaced as soon as its node counts as lost; with more, or never, not yet.
    """
    start = lost(minutes=0.1, deployments={"deployments/chat": deployment(reschedule_after_seconds=seconds)})

    assert replaced is ("INSTANCE_REPLACED" in reasons(decide(start, NOW, ids())))


def test_nothing_is_placed_on_a_suspect_node() -> None:
    """
    A node that was not heard from just now takes nothing new, and of it nothing is written but the row that waits.
    """
    start = world([node("a")], [deployment()], suspect=frozenset({"nodes/a"}))
    now = settled(start)
    (waiting,) = now.instances.values()
    heard = settled(replace(now, suspect=frozenset()))

    assert ["NODE_SUSPECT"] == [row.reason for row in waiting.refusals]
    assert now.nodes == start.nodes
    assert [S.SCHEDULED] == [each.state for each in heard.instances.values()]


def test_a_moments_silence_rewrites_no_rows() -> None:
    """
    What an instance was told it waits for stands while a node is suspect, and instances that run are left alone.
    """
    start = settled(
        world([node("a")], [deployment(replicas=1), deployment("big", claim_memory_bytes=1 << 50)], [placed()])
    )

    decision = decide(replace(start, suspect=frozenset({"nodes/a"})), NOW, ids())

    assert not decision.changes_records


def test_a_node_that_returns_says_what_became_of_its_instances() -> None:
    """
    The event of a return tells how long the node was away, and how many instances go on or were replaced.
    """
    away = node("a", state=NodeState.UNREACHABLE, state_time=NOW - timedelta(minutes=9))
    instances = [
        placed("chat-1", state=S.UNREACHABLE),
        placed("chat-2", state=S.UNREACHABLE, stop_time=NOW, stop_reason="replaced"),
    ]
    start = world([away], [deployment()], instances, connected=frozenset({"nodes/a"}))

    (event,) = [each for each in decide(start, NOW, ids()).events if each.reason == "NODE_RETURNED"]

    assert (
        "nodes/a is back after 9 min 0 s: 1 of its instances goes on; 1 was replaced meanwhile, and stopped there."
        == event.message
    )


@pytest.mark.promise("P3")
def test_a_mass_loss_stops_the_replacing() -> None:
    """
    When most nodes go at once nothing is replaced, and one event says why.
    """
    nodes = [node(name) for name in "abcde"]
    gone = {f"nodes/{name}": NOW - timedelta(seconds=1) for name in "abc"}
    start = world(nodes, [deployment()], [placed(on="a")], lease_end=gone, connected=frozenset())
    first = decide(start, NOW, ids())
    later = applied(start, first)
    much_later = decide(later, NOW + timedelta(hours=2), ids())

    assert reasons(first).count("MASS_FAILURE") == 1
    assert not much_later.changes_records


@pytest.mark.promise("P3")
def test_the_last_of_a_mass_loss_has_time_to_return() -> None:
    """
    When nodes come back one after the other the last ones are not taken for lost at once, but a while after the others.
    """
    nodes = [node(name, create_time=NOW - timedelta(days=1)) for name in "abcde"]
    gone = {f"nodes/{name}": NOW - timedelta(seconds=1) for name in "abc"}
    start = world(nodes, [deployment()], [placed(on="a")], lease_end=gone, connected=frozenset())
    lost = applied(start, decide(start, NOW, ids()))
    later = NOW + timedelta(hours=2)
    ends = {**gone, "nodes/b": later + timedelta(hours=1), "nodes/c": later + timedelta(hours=1)}
    returning = replace(lost, lease_end=ends, connected=frozenset({"nodes/b", "nodes/c"}))
    first = decide(returning, later, ids())
    still = applied(returning, first)

    assert "INSTANCE_REPLACED" not in reasons(first)
    assert first.wake_at is not None
    assert first.wake_at <= later + timedelta(seconds=90)
    assert "INSTANCE_REPLACED" not in reasons(decide(still, later + timedelta(seconds=89), ids()))
    assert "INSTANCE_REPLACED" in reasons(decide(still, later + timedelta(seconds=90), ids()))


def test_three_of_a_large_fleet_are_no_mass_loss() -> None:
    """
    A few nodes of many are replaced as usual.
    """
    nodes = [node(f"n{number}") for number in range(20)]
    gone = {f"nodes/n{number}": NOW - timedelta(seconds=1) for number in range(3)}
    start = world(nodes, [deployment()], [placed(on="n0")], lease_end=gone, connected=frozenset())
    after = applied(start, decide(start, NOW, ids()))
    later = decide(after, NOW + timedelta(minutes=6), ids())

    assert "INSTANCE_REPLACED" in reasons(later)


def test_a_deleted_node_takes_its_rows_along() -> None:
    """
    What stood on a node that an operator deleted is forgotten and created anew.
    """
    decision = decide(world([node("b")], [deployment()], [placed(on="a")]), NOW, ids())

    assert decision.delete_instances == ("instances/chat-1",)
    assert [each.state for each in decision.put_instances] == [S.SCHEDULED]


def test_an_agent_that_does_not_begin_is_an_error_and_still_told() -> None:
    """
    SCHEDULED has a deadline; after it the state is ERROR, with what to look at, and the assignment stands.
    """
    instance = placed(state=S.SCHEDULED, state_time=NOW - timedelta(seconds=61))
    start = world([node()], [deployment()], [instance])
    after = applied(start, decide(start, NOW, ids()))

    assert after.instances[instance.name].state is S.ERROR
    assert len(desired_of("nodes/a", after).assignments) == 1
    assert not decide(after, NOW, ids()).changes_records


def test_a_declared_version_stops_within_its_own_grace() -> None:
    """
    The definition that was launched says how long, whatever the plugin that runs it says of itself.
    """
    standing = placed(state=S.STOPPING, stop_time=NOW, state_time=NOW - timedelta(minutes=3))
    assert standing.assignment is not None
    patient = replace(standing.assignment, definition=Definition(backend="echo", version="1", stop_grace_seconds=600.0))
    late, in_time = (
        decide(world([node()], [deployment(replicas=0)], [each]), NOW, ids())
        for each in (standing, replace(standing, assignment=patient))
    )

    assert (["STOP_OVERDUE"], []) == (reasons(late), reasons(in_time))


@pytest.mark.promise("P3")
def test_a_stop_that_is_not_confirmed_is_said_once_and_the_row_stays() -> None:
    """
    STOPPING has a deadline; after it one event says so, and nothing is deleted.
    """
    instance = placed(state=S.STOPPING, stop_time=NOW, state_time=NOW - timedelta(minutes=10))
    start = world([node()], [deployment(replicas=0)], [instance])
    decision = decide(start, NOW, ids())
    after = applied(start, decision)

    assert reasons(decision) == ["STOP_OVERDUE"]
    assert after.instances[instance.name].state is S.STOPPING
    assert not decide(after, NOW, ids()).changes_records


def test_the_next_look_is_when_something_is_due() -> None:
    """
    Leases and deadlines say when to decide again.
    """
    instance = placed(state=S.SCHEDULED, state_time=NOW - timedelta(seconds=50))

    assert decide(world([node()], [deployment()], [instance]), NOW, ids()).wake_at == NOW + timedelta(seconds=10)
    assert decide(world([node()]), NOW, ids()).wake_at == NOW + timedelta(seconds=40)


def test_nodes_that_disagree_about_a_model_do_not_make_records_flap() -> None:
    """
    Facts once believed stay while any node confirms them.
    """
    start = settled(world([node("a"), node("b")], [deployment(replicas=9, claim_memory_bytes=3 * GIB)]))
    known = start.deployments["deployments/chat"].facts
    assert known is not None
    other = Reading(facts=replace(known, digest="sha256:other"))
    mixed = replace(start, readings={**start.readings, ("nodes/a", PATH): other})

    assert decide(mixed, NOW, ids()).put_deployments == ()


@pytest.mark.parametrize(("claimed", "limit"), [(3 * GIB, 3 * GIB), (None, None)])
def test_an_image_is_placed_like_a_process(claimed: int | None, limit: int | None) -> None:
    """
    The node's default version is taken, the image goes along, and a claim that was given is also the limit.
    """
    (plain,) = settled(world([node("a")], [deployment(claim_memory_bytes=claimed)])).instances.values()
    (boxed,) = settled(world([node("a")], [deployment(image="llama:1", claim_memory_bytes=claimed)])).instances.values()
    assert plain.assignment is not None
    assert boxed.assignment is not None

    assert plain.placement == boxed.placement
    assert ("llama:1", limit) == (boxed.assignment.image, boxed.assignment.memory_limit_bytes)
