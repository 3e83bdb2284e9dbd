"""Which attempts are kept."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from motorpool_agent.reconcile.attempts import Kept, with_attempt
from motorpool_agent.reconcile.observation import Attempt, Failure


def ended(number: int, reason: str = "EXITED") -> Attempt:
    failure = Failure(time=datetime(2026, 11, 21, tzinfo=UTC), reason=reason, message="")
    return Attempt(number=number, failure=failure, generation=1)


@given(
    tries=st.integers(1, 60),
    first=st.integers(1, 5),
    last=st.integers(1, 5),
    well=st.lists(st.integers(1, 60), max_size=3),
)
def test_the_first_and_the_last_are_kept(tries: int, first: int, last: int, well: list[int]) -> None:
    """
    Whatever follows: the first of all, the first since it last ran well, and the last; and no more than those.
    """
    attempts: tuple[Attempt, ...] = ()
    row_from = 0
    for number in range(1, tries + 1):
        if number in well:
            row_from = number
        attempts = with_attempt(attempts, ended(number), row_from, Kept(first=first, last=last))
    numbers = [attempt.number for attempt in attempts]
    expected = {*range(1, first + 1), *range(max(1, row_from), row_from + first), *range(tries - last + 1, tries + 1)}

    assert sorted(numbers) == numbers
    assert {number for number in expected if 1 <= number <= tries} >= set(numbers)
    assert set(range(1, min(first, tries) + 1)) <= set(numbers)
    assert set(range(max(1, tries - last + 1), tries + 1)) <= set(numbers)
    assert max(1, row_from) in numbers


def test_told_twice_is_one_attempt() -> None:
    """
    An agent that was killed while it wrote tells of the same attempt again, and that counts.
    """
    attempts = with_attempt((ended(1), ended(2)), ended(2, "OUT_OF_MEMORY"), 0, Kept())

    assert [(1, "EXITED"), (2, "OUT_OF_MEMORY")] == [(each.number, each.failure.reason) for each in attempts]
