"""Whatever happens while a changed spec is rolled out, it takes nothing away that serves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.rollouts import is_outdated
from motorpool_controller.domain.specs import revised
from motorpool_controller.domain.workload import Instance, InstanceState, RolloutState
from motorpool_controller.reconcile.world import World
from tests.controller.fleets import NOW, deployment, node, world
from tests.controller.reconcile.deciding import failing, running, settled

S = InstanceState
NAME = "deployments/chat"
SPECS = ((), ("-c", "1024"), ("-c", "2048"))
STEPS = st.lists(
    st.one_of(
        st.sampled_from(["run", "fail", "recover", "confirm"]),
        st.tuples(st.just("update"), st.sampled_from(SPECS)),
        st.tuples(st.just("scale"), st.integers(0, 3)),
    ),
    max_size=12,
)


def serving(now: World) -> int:
    return sum(each.state is S.RUNNING and not each.leaves for each in now.instances.values())


def happened(now: World, step: str | tuple[str, Any]) -> World:
    """The world after a step that is not the controller's."""
    wish = now.deployments[NAME]
    if isinstance(step, tuple):
        field = "parameters" if step[0] == "update" else "replicas"
        return replace(now, deployments={NAME: revised(wish, replace(wish.spec, **{field: step[1]}), NOW)})
    if step == "run":
        return running(now, *(each.name for each in now.instances.values() if each.state is not S.ERROR))
    if step == "confirm":
        gone = frozenset(each.uid for each in now.instances.values() if each.stop_time is not None)
        return replace(now, gone=gone)
    theirs = [each for each in now.instances.values() if each.placement is not None and not each.leaves]
    if step == "fail":
        newest = sorted(theirs, key=lambda each: (is_outdated(each, wish), each.name))
        return failing(now, newest[0].name) if newest else now
    well: dict[str, Instance] = {
        each.name: replace(each, state=S.RUNNING, first_failure=None) for each in theirs if each.state is S.ERROR
    }
    return replace(now, instances={**now.instances, **well})


@pytest.mark.promise("P3")
@given(replicas=st.integers(1, 3), steps=STEPS)
def test_a_rollout_takes_nothing_away_that_serves(replicas: int, steps: list[str | tuple[str, Any]]) -> None:
    """
    Decisions leave as many instances serving as there were, but for those above the number that is wished.
    """
    now = running(settled(world([node("a"), node("b")], [deployment(replicas=replicas)])))
    for step in steps:
        before = happened(now, step)
        now = settled(before)
        assert serving(now) >= min(serving(before), now.deployments[NAME].spec.replicas)
        live = [each for each in now.instances.values() if not each.leaves]
        assert len(live) <= max(len(before.instances), now.deployments[NAME].spec.replicas + 1)


@given(steps=STEPS)
def test_left_alone_a_rollout_comes_to_its_end(steps: list[str | tuple[str, Any]]) -> None:
    """
    Once everything runs and stops as it is told, all instances are of the present spec, and it is said.
    """
    now = running(settled(world([node("a"), node("b")], [deployment(replicas=2)])))
    for step in steps:
        now = settled(happened(now, step))
    for _ in range(8):
        for step in ("recover", "run", "confirm"):
            now = settled(happened(now, step))
    wish = now.deployments[NAME]
    live = [each for each in now.instances.values() if not each.leaves]

    assert [] == [each.name for each in live if is_outdated(each, wish)]
    assert wish.spec.replicas == len(live)
    assert wish.rollout is None or wish.rollout.state is RolloutState.COMPLETE
