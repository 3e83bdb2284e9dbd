"""Instances that their nodes have not begun to run."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.workload import Instance, InstanceState
from motorpool_controller.reconcile.expected import Expected
from tests.controller.fleets import NOW, placed

TIMES = st.integers(0, 3).map(lambda seconds: NOW + timedelta(seconds=seconds))
STATES = st.sampled_from([InstanceState.SCHEDULED, InstanceState.SCHEDULED, InstanceState.STARTING])
STEPS = st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.tuples(STATES, TIMES)), TIMES)


@given(st.lists(STEPS, max_size=12))
def test_those_are_expected_that_looking_at_all_finds(
    steps: list[tuple[str, tuple[InstanceState, datetime] | None, datetime]],
) -> None:
    """
    Through any history, and however often somebody asks: those that are due, and the first of them, are told.
    """
    expected, rows = Expected(), dict[str, Instance]()
    for name, state, asked in steps:
        rows.pop(name, None)
        if state is not None:
            rows[name] = replace(placed(name), state=state[0], state_time=state[1])
        expected.take(name, rows.get(name))
        times = {key: row.state_time for key, row in rows.items() if row.state is InstanceState.SCHEDULED}

        assert {key for key, time in times.items() if time <= asked} == expected.until(asked)
        assert min(times.values(), default=None) == expected.first()
