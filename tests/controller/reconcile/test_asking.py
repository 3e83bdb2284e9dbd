"""How many nodes are asked about a model before an instance of it is placed."""

from __future__ import annotations

from dataclasses import replace

from motorpool_controller.reconcile.agenda import Agenda, Changes
from motorpool_controller.reconcile.decide import decide
from motorpool_controller.reconcile.world import Decision, Reading, World
from motorpool_controller.scheduling.asking import MARGIN, NODES_EACH
from motorpool_controller.scheduling.snapshot import Touched
from tests.controller.fleets import NOW, PATH, SMOLLM2, applied, deployment, ids, node, usage, world

HAS = Reading(facts=SMOLLM2)
HAS_NOT = Reading(error_reason="MODEL_NOT_FOUND", error_message="there is no such file")
NODES = 2_000


def fleet(replicas: int = 1) -> World:
    nodes = [node(f"n{number:04}") for number in range(NODES)]
    return replace(world(nodes, [deployment("x", replicas=replicas)], readings={}), agenda=Agenda())


def answered(before: World, decision: Decision, answers: dict[tuple[str, str], Reading]) -> World:
    """The world once these answers came, of which the next decision is told."""
    after = applied(before, decision)
    rows = Touched(instances=frozenset(each.name for each in decision.put_instances), readings=frozenset(answers))
    return replace(
        after,
        readings={**before.readings, **answers},
        changes=Changes(rows=rows, deployments=frozenset(after.deployments), leases=False),
    )


def placed_in(after: World) -> int:
    return sum(each.placement is not None for each in after.instances.values())


def test_one_instance_asks_few_nodes() -> None:
    """
    Of a large fleet a few nodes are asked for one instance; placed, it has nobody asked any more.
    """
    start = fleet()
    first = decide(start, NOW, ids())
    then = answered(start, first, {first.questions[0]: HAS})
    second = decide(then, NOW, ids())

    assert MARGIN + NODES_EACH == len(first.questions)
    assert (1, ()) == (placed_in(applied(then, second)), second.questions)


def test_many_instances_ask_as_many_more() -> None:
    """
    Who wishes for many instances has more nodes asked, so that they need not crowd on few.
    """
    decision = decide(fleet(replicas=100), NOW, ids())

    assert MARGIN + 100 * NODES_EACH == len(decision.questions)


def test_refusals_have_more_nodes_asked() -> None:
    """
    Each round of refusals doubles those that are asked: the only node that has a model is found in a few rounds.
    """
    last = (f"nodes/n{NODES - 1:04}", PATH)
    now, rounds = fleet(), 0
    while not placed_in(now):
        decision = decide(now, NOW, ids())
        fresh = [key for key in decision.questions if key not in now.readings]
        rounds += bool(fresh)
        now = answered(now, decision, {key: HAS if key == last else HAS_NOT for key in fresh})

    assert rounds <= 7
    assert f"nodes/n{NODES - 1:04}" in {
        member.node for each in now.instances.values() if each.placement for member in each.placement.members
    }


def test_those_that_failed_are_asked_beside_others() -> None:
    """
    A node that failed to read a model stays among those that are asked, and keeps no other from its turn.
    """
    start = fleet()
    first = decide(start, NOW, ids())
    then = answered(start, first, dict.fromkeys(first.questions, HAS_NOT))
    second = decide(then, NOW, ids())

    assert set(first.questions) < set(second.questions)
    assert 2 * (MARGIN + NODES_EACH) == len(set(second.questions) - set(first.questions))


def test_those_that_do_not_answer_have_others_asked() -> None:
    """
    Nodes whose files hang hold nothing up: that they were asked in vain has others asked.
    """
    start = fleet()
    first = decide(start, NOW, ids())
    then = answered(start, first, dict.fromkeys(first.questions, Reading(late=True)))
    second = decide(then, NOW, ids())
    row = next(iter(then.instances.values())).refusals[0]

    assert 2 * (MARGIN + NODES_EACH) == len(set(second.questions) - set(first.questions))
    assert "MODEL_NOT_READ_YET" == row.reason


def test_nodes_with_most_room_are_asked_first() -> None:
    """
    Where not all are asked, those are that have most left.
    """
    start = fleet()
    roomy = node("z", memory=64 << 30)
    start = replace(start, nodes={**start.nodes, roomy.name: roomy}, usage={**start.usage, roomy.name: usage(roomy)})

    assert ("nodes/z", PATH) in decide(start, NOW, ids()).questions
