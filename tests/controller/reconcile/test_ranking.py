"""Which instance goes first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.fleet import NodeState
from motorpool_controller.domain.workload import Instance, InstanceState, Strategy
from motorpool_controller.reconcile.draft import Draft
from motorpool_controller.reconcile.ranking import worth
from tests.controller.fleets import NOW, SMOLLM2, deployment, node, placed, world


def ranked(instances: list[Instance], **changes: Any) -> list[str]:
    """The last parts of the instances' names, the one to go first in front."""
    nodes = [node("a"), node("b"), node("lost", state=NodeState.UNREACHABLE)]
    draft = Draft(world(nodes, [deployment(**changes, facts=SMOLLM2)], instances), NOW)
    return [each.name.partition("-")[2] for each in sorted(instances, key=lambda each: worth(draft, each))]


def offloaded(name: str, layers: int | None, **changes: Any) -> Instance:
    made = placed(name, **changes)
    assert made.placement is not None
    return replace(made, placement=replace(made.placement, offloaded_layers=layers))


def test_a_lost_node_is_worth_as_little_as_a_failure() -> None:
    """
    What runs on a node that is not ready goes before what starts on one that is.
    """
    instances = [placed("chat-starting", state=InstanceState.STARTING), placed("chat-lost", on="lost")]

    assert ["lost", "starting"] == ranked(instances)


def test_fewer_layers_on_devices_go_first() -> None:
    """
    Of running instances the one with the fewest layers on devices goes first; one that nobody knows of has none.
    """
    instances = [offloaded("chat-all", 31), offloaded("chat-half", 15), offloaded("chat-unknown", None)]

    assert ["unknown", "half", "all"] == ranked(instances)


@pytest.mark.parametrize(("strategy", "first"), [(Strategy.SPREAD, "crowded"), (Strategy.BINPACK, "alone")])
def test_the_strategy_decides_among_equals(strategy: Strategy, first: str) -> None:
    """
    Spread gives up what shares its node with its like, binpack what is alone.
    """
    instances = [placed("chat-alone", on="b"), placed("chat-crowded", on="a"), placed("chat-x", on="a")]

    assert first == ranked(instances, strategy=strategy)[0]
