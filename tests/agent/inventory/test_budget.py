"""A share of the time, on a clock that only tests move."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_agent.inventory.budget import Budget, rest_seconds


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    st.floats(0.01, 1.0),
    st.floats(0.01, 5.0),
    st.lists(st.tuples(st.floats(0.0, 30.0), st.floats(0.0, 20.0)), max_size=60),
)
def test_no_more_than_the_share_is_spent(share: float, in_hand: float, rounds: list[tuple[float, float]]) -> None:
    """
    Whatever asking costs and however often one would, what was spent is at most the share of the time that passed,
    what was in hand at first, and the one call that used it up.
    """
    clock = Clock()
    budget = Budget(share, in_hand, clock)
    spent = last = 0.0
    for wait, cost in rounds:
        clock.now += wait
        if budget.allows():
            assert spent <= share * clock.now + in_hand + 1e-6
            budget.spend(cost)
            spent, last = spent + cost, cost
            clock.now += cost

    assert spent <= share * clock.now + in_hand + last + 1e-6


@pytest.mark.parametrize(("cost", "rounds"), [(0.01, 100), (0.4, 100)])
def test_what_costs_less_than_its_share_is_never_held_up(cost: float, rounds: int) -> None:
    """
    At a twentieth, what takes 0.4 s may be done every ten.
    """
    clock = Clock()
    budget = Budget(0.05, 1.0, clock)
    for _ in range(rounds):
        assert budget.allows()
        budget.spend(cost)
        clock.now += 10.0


def test_what_costs_much_is_done_seldom() -> None:
    """
    At a twentieth, what takes two seconds is done every forty in the long run.
    """
    clock = Clock()
    budget = Budget(0.05, 1.0, clock)
    done = 0
    for _ in range(4000):
        if budget.allows():
            budget.spend(2.0)
            done += 1
        clock.now += 1.0

    assert done in range(99, 103)
    assert 40.0 == rest_seconds(2.0, 0.05)
