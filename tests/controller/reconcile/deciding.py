"""Worlds that are decided on until they rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motorpool_controller.domain.attempts import Failure
from motorpool_controller.domain.workload import InstanceState
from motorpool_controller.reconcile.decide import decide
from motorpool_controller.reconcile.world import Decision, World
from tests.controller.fleets import NOW, applied, ids

S = InstanceState


def reasons(decision: Decision) -> list[str]:
    """Reasons of a decision's events."""
    return [event.reason for event in decision.events]


def settled(start: World, *, steps: int = 8) -> World:
    """Decide until nothing changes."""
    fresh = (each for each in ids() if not any(each[:5] in name for name in start.instances))
    for _ in range(steps):
        decision = decide(start, NOW, fresh)
        if not decision.changes_records:
            return start
        start = applied(start, decision)
    pytest.fail("it does not come to rest")


def running(start: World, *names: str) -> World:
    """The world once these instances, or all that are to, run."""
    return replace(
        start,
        instances={
            name: replace(each, state=S.RUNNING)
            if each.placement and each.stop_time is None and (not names or name in names)
            else each
            for name, each in start.instances.items()
        },
    )


def failing(start: World, name: str, message: str = "no such option") -> World:
    """The world once an instance has failed, and waits for its next try."""
    failure = Failure(time=NOW, reason="EXITED", message=message)
    failed = replace(start.instances[name], state=S.ERROR, first_failure=failure, last_failure=failure)
    return replace(start, instances={**start.instances, name: failed})
