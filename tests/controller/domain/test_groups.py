"""Instances in groups, and how many of each kind a deployment has."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.attempts import Failure
from motorpool_controller.domain.groups import Counts, Groups, Tally, nodes_of
from motorpool_controller.domain.workload import Instance, InstanceState
from tests.controller.fleets import NOW, deployment, placed

FAILURE = Failure(time=NOW, reason="EXITED", message="it ended")


def test_counts() -> None:
    """
    What runs, what is of the present spec, what of that is ready, and what is of others; what leaves is none.
    """
    instances = [
        placed("ready", template_generation=3),
        placed("failed-once", template_generation=3, first_failure=FAILURE),
        placed("starting", template_generation=3, state=InstanceState.STARTING),
        placed("former", template_generation=1),
        placed("of-old", deployment_generation=2),
        placed("leaving", template_generation=3, drain_time=NOW),
        placed("stopping", template_generation=1, stop_time=NOW),
    ]

    counts = Tally(instances).counts(deployment(generation=4, template_generation=3))

    assert Counts(running=4, updated=3, updated_running=2, ready=1, outdated=2) == counts


@st.composite
def _rows(draw: st.DrawFn) -> Instance:
    made = placed(
        draw(st.sampled_from("abc")),
        on=draw(st.sampled_from("no")),
        deployment=draw(st.sampled_from(["deployments/x", "deployments/y"])),
        template_generation=draw(st.integers(0, 2)),
        state=draw(st.sampled_from([InstanceState.RUNNING, InstanceState.ERROR])),
    )
    made = made if draw(st.integers(0, 2)) else replace(made, placement=None)
    return replace(made, stop_time=NOW) if draw(st.booleans()) else made


@given(st.lists(st.one_of(_rows(), st.sampled_from("abc"))))
def test_groups_follow_every_change(changes: list[Instance | str]) -> None:
    """
    Kept up row by row, they and their counts are what looking at all rows gives; names are rows that go.
    """
    groups, rows = Groups(), dict[str, Instance]()
    for change in changes:
        name = f"instances/{change}" if isinstance(change, str) else change.name
        after = None if isinstance(change, str) else change
        groups.replace(rows.pop(name, None), after)
        if after is not None:
            rows[name] = after
    for parent in ("deployments/x", "deployments/y"):
        wish = deployment(template_generation=2)
        theirs = Tally(each for each in rows.values() if each.deployment == parent)
        assert theirs.counts(wish) == groups.tally(parent).counts(wish)
        assert theirs.number == groups.tally(parent).number
        assert {name: each for name, each in rows.items() if each.deployment == parent} == groups.of_deployment(parent)
    for node in ("nodes/n", "nodes/o"):
        assert {name: each for name, each in rows.items() if node in nodes_of(each)} == groups.on_node(node)
