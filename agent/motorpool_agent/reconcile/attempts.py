"""Which attempts to run an instance are kept: the first ones that failed are not pushed out by those that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from motorpool_agent.reconcile.observation import Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """So many of the first attempts are kept, and so many of the last."""

    first: int = 1
    last: int = 4


def with_attempt(attempts: Sequence[Attempt], ended: Attempt, row_from: int, kept: Kept) -> tuple[Attempt, ...]:
    """Return the attempts that are kept once another one has ended, oldest first.

    Of the first ones there are two kinds: those of all, and those since it last ran well, ``row_from`` a number on.
    What is told of an attempt a second time replaces what was told before.
    """
    known = [*(attempt for attempt in attempts if attempt.number != ended.number), ended]
    known.sort(key=lambda attempt: attempt.number)
    row = [attempt for attempt in known if attempt.number >= row_from]
    stay = {attempt.number for attempt in (*known[: kept.first], *row[: kept.first], *known[-kept.last :])}
    return tuple(attempt for attempt in known if attempt.number in stay)
