"""Nodes, devices and instances that operators drain: another instance serves before one goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.fleet import Cordon, Drain, Node, NodeState
from motorpool_controller.domain.groups import nodes_of
from motorpool_controller.domain.maintenance import WHOLE, cordoned, uncordoned
from motorpool_controller.domain.placement import Claim, Member
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import Instance, InstanceState
from motorpool_controller.reconcile.decide import decide
from motorpool_controller.reconcile.drains import waits
from motorpool_controller.reconcile.world import Settings, World
from tests.controller.fleets import NOW, applied, deployment, device, ids, node, placed, world
from tests.controller.reconcile.deciding import failing, reasons, running, settled

S = InstanceState
NAME = "deployments/chat"


def draining(of: Node, device_id: str = WHOLE, **changes: Any) -> Node:
    drain = Drain(**{"time": NOW, "actor": "ops (tokens/t)", "reason": "new fans", **changes})
    return cordoned(of, device_id, Cordon(time=NOW, actor=drain.actor, reason=drain.reason, drain=drain))


def with_node(start: World, changed: Node) -> World:
    return replace(start, nodes={**start.nodes, changed.name: changed})


def confirmed(start: World) -> World:
    """The world once nodes have confirmed every stop."""
    return settled(replace(start, gone=frozenset(each.uid for each in start.instances.values() if each.stop_time)))


def standing(now: World) -> list[Instance]:
    return [each for each in now.instances.values() if not each.leaves]


def serving(now: World) -> int:
    return sum(each.state is S.RUNNING for each in standing(now))


def on(now: World, *nodes: str) -> list[str]:
    return [each.name for each in standing(now) if {f"nodes/{name}" for name in nodes} & {*nodes_of(each)}]


def start_of(*, replicas: int = 2, nodes: Iterable[Node] | None = None) -> World:
    """A deployment that runs on node a, and a node b that is free."""
    fleet = [node("a"), node("b")] if nodes is None else list(nodes)
    instances = [placed(f"chat-{number}") for number in range(replicas)]
    return world(fleet, [deployment(replicas=replicas)], instances)


def test_another_one_serves_before_one_goes() -> None:
    """
    Of a drained node's instances one at a time gets another elsewhere; it goes once that runs, until none is left.
    """
    before = start_of()
    now = settled(with_node(before, draining(before.nodes["nodes/a"], total=2)))

    assert (["instances/chat-0", "instances/chat-1"], 1) == (on(now, "a"), len(on(now, "b")))
    assert 2 == serving(now)
    once = settled(running(now))
    assert (1, 2) == (len(on(once, "a")), len(on(once, "b")))
    told = running(once)
    last = settled(told)
    assert ([], 2) == (on(last, "a"), len(on(last, "b")))
    end = confirmed(last)
    drain = end.nodes["nodes/a"].cordons[WHOLE].drain
    assert drain is not None
    assert drain.complete_time == NOW


def test_empty_node_is_drained_at_once() -> None:
    """
    Where nothing is left the node's record and an event say so, once.
    """
    start = world([draining(node("a"))], [])

    decision = decide(start, NOW, ids())

    assert ["DRAINED"] == reasons(decision)
    assert not decide(applied(start, decision), NOW, ids()).changes_records


def test_without_room_it_stays_and_says_for_what() -> None:
    """
    Without a place elsewhere an instance serves on for any time, and its wait shows the rows of the one that waits.
    """
    before = start_of(replicas=1, nodes=[node("a"), node("b", memory=GIB // 4)])
    now = settled(with_node(before, draining(before.nodes["nodes/a"])))
    later = decide(replace(now, lease_end={}), NOW + timedelta(days=9), ids())

    assert 1 == serving(now)
    (pending,) = [each for each in now.instances.values() if each.placement is None]
    assert {"NODE_CORDONED", "MEMORY_SHORT"} <= {row.reason for row in pending.refusals}
    (cordon,) = [row for row in pending.refusals if row.reason == "NODE_CORDONED"]
    assert "nodes/a is cordoned by ops (tokens/t): new fans; uncordon it" in cordon.message
    drain = now.nodes["nodes/a"].cordons[WHOLE].drain
    assert drain is not None
    (wait,) = waits(drain, [now.instances["instances/chat-0"]], lambda _: now.instances)
    assert wait.replacement == pending
    assert pending.refusals[0].message in wait.message
    assert not later.put_instances


def test_deadline_stops_what_has_no_other_place() -> None:
    """
    When the time to wait is over, what is left is stopped, and an event says so; the decision wakes for it.
    """
    before = start_of(replicas=1, nodes=[node("a")])
    due = NOW + timedelta(minutes=30)
    now = settled(with_node(replace(before, lease_end={}), draining(before.nodes["nodes/a"], deadline_time=due)))
    early, late = decide(now, NOW, ids()), decide(now, due, ids())

    assert early.wake_at is not None
    assert early.wake_at <= due
    assert "DRAIN_DEADLINE" not in reasons(early)
    assert "DRAIN_DEADLINE" in reasons(late)
    assert [S.STOPPING] == [each.state for each in late.put_instances if each.name == "instances/chat-0"]


def test_what_goes_is_withdrawn_first() -> None:
    """
    An instance that another one stands in for leaves the endpoints, and is told to stop a while later.
    """
    before = start_of(replicas=1)
    served = replace(before.instances["instances/chat-0"], endpoint="http://a:1")
    before = replace(before, instances={served.name: served}, settings=Settings(drain_seconds=10))
    now = running(settled(with_node(before, draining(before.nodes["nodes/a"]))))

    left = settled(now).instances["instances/chat-0"]

    assert (NOW, None, "") == (left.drain_time, left.stop_time, left.endpoint)


def test_failed_instance_goes_at_once() -> None:
    """
    One that failed serves nobody, and leaves a drained node without waiting.
    """
    before = failing(start_of(replicas=1, nodes=[node("a")]), "instances/chat-0")

    now = settled(with_node(before, draining(before.nodes["nodes/a"])))

    assert [] == on(now, "a")


def test_ill_sibling_holds_no_drain_up() -> None:
    """
    An instance elsewhere that fails for reasons of its own does not keep a drained one from being moved.
    """
    before = start_of(nodes=[node("a"), node("b")])
    elsewhere = placed("chat-1", on="b")
    before = failing(replace(before, instances={**before.instances, elsewhere.name: elsewhere}), elsewhere.name)

    now = settled(with_node(before, draining(before.nodes["nodes/a"])))
    new = [name for name in on(now, "b") if name != elsewhere.name]
    moved = settled(running(now, *new))

    assert 1 == len(new)
    assert [] == on(moved, "a")


def test_uncordon_ends_a_drain() -> None:
    """
    Taken back, the drain leaves what is there, and the one that was to stand in goes.
    """
    before = start_of(replicas=1)
    now = settled(with_node(before, draining(before.nodes["nodes/a"])))
    assert 2 == len(standing(now))

    after = settled(with_node(now, uncordoned(now.nodes["nodes/a"], WHOLE)))

    assert ["instances/chat-0"] == [each.name for each in standing(after)]


def test_device_is_drained_alone() -> None:
    """
    A drained device loses its instances, and those of the node's other devices stay.
    """
    cards = [device("GPU-0"), device("GPU-1", index=1)]
    wish = deployment("chat", replicas=2)
    both = [placed("chat-0", device_id="GPU-0", memory=20 * GIB), placed("chat-1", device_id="GPU-1")]
    before = world([node("a", devices=cards), node("b")], [wish], both)

    now = running(settled(with_node(before, draining(before.nodes["nodes/a"], "GPU-0"))))

    assert ["instances/chat-1"] == on(settled(now), "a")[:1]
    assert "instances/chat-0" not in {each.name for each in standing(settled(now))}


def test_part_of_a_drained_device_is_drained() -> None:
    """
    What has a partition of a drained device is moved with it.
    """
    cards = [device("GPU-0"), device("MIG-1", partition_of="GPU-0")]
    one = placed("chat-0", device_id="MIG-1")
    before = world([node("a", devices=cards), node("b")], [deployment()], [one])

    now = settled(running(settled(with_node(before, draining(before.nodes["nodes/a"], "GPU-0")))))

    assert [] == on(now, "a")


def test_instance_is_replaced_alone() -> None:
    """
    A drained instance goes when another one serves, wherever that is.
    """
    before = start_of()
    marked = replace(before.instances["instances/chat-0"], drain=Drain(time=NOW))
    now = settled(replace(before, instances={**before.instances, marked.name: marked}))

    after = settled(running(now))

    assert 3 == len(standing(now))
    assert {"instances/chat-1"} < {each.name for each in standing(after)}
    assert (2, False) == (len(standing(after)), marked.name in {each.name for each in standing(after)})


def test_gang_is_moved_whole() -> None:
    """
    An instance over several nodes is replaced as a whole when one of them is drained.
    """
    one = placed("chat-0")
    assert one.placement is not None
    members = (*one.placement.members, Member(node="nodes/b", claim=Claim(memory_bytes=GIB), rank=1))
    spanning = replace(one, placement=replace(one.placement, members=members))
    before = world([node("a"), node("b"), node("c")], [deployment()], [spanning])

    now = settled(with_node(before, draining(before.nodes["nodes/b"])))
    after = settled(running(now))

    assert ["instances/chat-0"] == on(now, "b")
    assert [] == on(after, "b")
    assert 1 == serving(after)


@pytest.mark.promise("P3")
def test_lost_node_is_drained_when_it_confirms() -> None:
    """
    Nothing counts as gone because it is not heard of: a lost node is drained once it came back and confirmed.
    """
    lost = node("a", state=NodeState.UNREACHABLE)
    before = start_of(replicas=1, nodes=[lost, node("b")])
    now = settled(running(settled(with_node(before, draining(lost))), "instances/none"))
    after = settled(running(now, *on(now, "b")))

    stopped = after.instances["instances/chat-0"]
    assert stopped.stop_time == NOW
    drain = after.nodes["nodes/a"].cordons[WHOLE].drain
    assert drain is not None
    assert drain.complete_time is None


STEPS = st.lists(
    st.sampled_from(["drain a", "drain b", "free a", "free b", "run", "fail", "confirm", "more", "fewer"]), max_size=14
)


def happened(now: World, step: str) -> World:
    """The world after a step that is not the controller's."""
    words = step.split()
    if words[0] in {"drain", "free"}:
        before = now.nodes[f"nodes/{words[1]}"]
        return with_node(now, draining(before) if words[0] == "drain" else uncordoned(before, WHOLE))
    if step == "run":
        return running(now, *(each.name for each in standing(now) if each.state is not S.ERROR))
    if step == "fail":
        newest = sorted((each for each in standing(now) if each.placement), key=lambda each: each.name)
        return failing(now, newest[0].name) if newest else now
    if step == "confirm":
        return replace(now, gone=frozenset(each.uid for each in now.instances.values() if each.stop_time is not None))
    wish = now.deployments[NAME]
    replicas = min(3, wish.spec.replicas + 1) if step == "more" else max(1, wish.spec.replicas - 1)
    return replace(now, deployments={NAME: replace(wish, spec=replace(wish.spec, replicas=replicas))})


@pytest.mark.promise("P3")
@given(replicas=st.integers(1, 3), steps=STEPS)
def test_a_drain_takes_nothing_away_that_serves(replicas: int, steps: list[str]) -> None:
    """
    Whatever is drained and freed, as many instances serve as did, but for those above the number that is wished, and
    those whose place an ill one has that was ill before.
    """
    now = running(settled(start_of(replicas=replicas)))
    for step in steps:
        before = happened(now, step)
        now = settled(before)
        wished = now.deployments[NAME].spec.replicas
        ill = sum(each.state is S.ERROR and each.create_time < NOW for each in standing(now))
        assert serving(now) >= min(serving(before), wished - ill)
        assert len(standing(now)) <= max(len(standing(before)), wished + 1)


@given(steps=STEPS)
def test_left_alone_a_drain_comes_to_its_end(steps: list[str]) -> None:
    """
    Once everything runs and stops as it is told, a node that was drained last is empty, and says so.
    """
    now = running(settled(start_of()))
    for step in [*steps, "free a", "free b", "drain a"]:
        now = settled(happened(now, step))
    for _ in range(8):
        well = {
            each.name: replace(each, state=S.RUNNING, first_failure=None)
            for each in standing(now)
            if each.state is S.ERROR
        }
        now = settled(replace(now, instances={**now.instances, **well}))
        for step in ("run", "confirm"):
            now = settled(happened(now, step))
    drain = now.nodes["nodes/a"].cordons[WHOLE].drain

    assert [] == on(now, "a")
    assert now.deployments[NAME].spec.replicas == len(standing(now))
    assert drain is not None
    assert drain.complete_time is not None
