"""Instances that wait for a place."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.workload import Instance
from motorpool_controller.reconcile.waiting import Waiting
from tests.controller.fleets import NOW, placed

ROWS = st.tuples(st.booleans(), st.integers(0, 2), st.sampled_from("xy"))
STEPS = st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), ROWS))


@given(st.lists(STEPS, max_size=20))
def test_those_wait_that_looking_at_all_finds(steps: list[tuple[str, tuple[bool, int, str] | None]]) -> None:
    """
    Through any history those wait that have no place, the oldest first and equals by name, and so their deployments.
    """
    waiting, rows = Waiting(), dict[str, Instance]()
    for name, made in steps:
        rows.pop(name, None)
        if made is not None:
            is_placed, seconds, deployment = made
            row = replace(placed(name), name=name, create_time=NOW + timedelta(seconds=seconds), deployment=deployment)
            rows[name] = row if is_placed else replace(row, placement=None)
        waiting.take(name, rows.get(name))
        unplaced = [row for row in rows.values() if row.placement is None]

        assert [row.name for row in sorted(unplaced, key=lambda row: (row.create_time, row.name))] == list(waiting)
        assert {row.deployment for row in unplaced} == waiting.deployments
