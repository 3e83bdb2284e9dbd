"""The pure decision: what to do with each assignment, given what is wanted and what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from motorpool_agent.reconcile.assignment import Assignment, Desired, Tombstone


class Action(StrEnum):
    """What to do with one assignment.

    ``stop`` and ``replace`` are the only ones that end a process: the first takes a tombstone, the second a higher
    generation, and both take a process that is ours for certain or an explicit tombstone.
    """

    START = "start"
    KEEP = "keep"
    REPLACE = "replace"
    STOP = "stop"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is there: the generation it was launched for, and whether its handle could be read and matches."""

    generation: int
    proven: bool = True


def decide(desired: Desired, known: Mapping[str, Known]) -> Mapping[str, Action]:
    """Return the action for every assignment that is wanted, there, or both; absence quarantines and never stops."""
    actions: dict[str, Action] = {}
    for assignment_id in sorted({*desired.assignments, *known}):
        action = _decide_one(
            desired.assignments.get(assignment_id),
            desired.tombstones.get(assignment_id),
            known.get(assignment_id),
        )
        if action is not None:
            actions[assignment_id] = action
    return actions


def _decide_one(assignment: Assignment | None, tombstone: Tombstone | None, there: Known | None) -> Action | None:
    if assignment is not None and tombstone is not None and tombstone.generation >= assignment.generation:
        assignment = None
    if there is None:
        return None if assignment is None else Action.START
    if tombstone is not None and tombstone.generation >= there.generation and assignment is None:
        return Action.STOP
    if assignment is None:
        return Action.QUARANTINE
    if assignment.generation > there.generation and there.proven:
        return Action.REPLACE
    return Action.KEEP


def restart_delay_seconds(restarts: int) -> float:
    """Return how long to wait before the restart after ``restarts`` others: at once, 10 s, doubling, at most 300 s."""
    if restarts <= 0:
        return 0.0
    return float(min(10 * 2 ** min(restarts - 1, 10), 300))
