"""When a machine runs short, and when it has enough again."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from motorpool_agent.inventory.pressure import EASED_SECONDS, Condition, Pressure, Resource

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def disk(left: int | None) -> Resource:
    return Resource(name="disk", available=left, total=100, low=10, enough=20, shortage=f"{left} left")


def test_short_at_once_and_over_after_a_while() -> None:
    """
    Less than the least is told at once, with the figure; enough for a minute on end takes it back.
    """
    pressure = Pressure()
    assert pressure.look([disk(50)], NOW, 0.0)
    assert {"disk": Condition(condition="disk")} == pressure.conditions
    assert not pressure.look([disk(10)], NOW, 1.0)
    assert pressure.look([disk(9)], NOW, 2.0)
    short = Condition(condition="disk", pressed=True, message="9 left", time=NOW)
    assert {"disk": short} == pressure.conditions

    for clock, left in ((3.0, 20), (50.0, 30), (55.0, 19), (56.0, 20), (100.0, None), (115.0, 99)):
        assert not pressure.look([disk(left)], NOW, clock)
    assert {"disk": short} == pressure.conditions
    assert pressure.look([disk(20)], NOW, 56.0 + EASED_SECONDS)
    assert {"disk": Condition(condition="disk")} == pressure.conditions


def test_what_is_not_known_is_no_shortage() -> None:
    """
    A disk that cannot be asked is neither short nor enough: what was known stands.
    """
    pressure = Pressure()
    pressure.look([disk(None)], NOW, 0.0)
    assert not pressure.conditions["disk"].pressed
    pressure.look([disk(1)], NOW, 1.0)
    pressure.look([disk(None)], NOW, 1000.0)
    pressure.look([], NOW, 2000.0)

    assert pressure.conditions["disk"].pressed


@given(st.lists(st.integers(0, 100), max_size=200))
def test_what_flaps_is_told_of_once_a_minute(figures: list[int]) -> None:
    """
    However the figure moves, looked at every ten seconds: it is taken back once a minute at most.
    """
    pressure = Pressure()
    changes = sum(pressure.look([disk(left)], NOW, 10.0 * number) for number, left in enumerate(figures))

    assert changes <= 2 + 2 * (10.0 * len(figures)) // EASED_SECONDS
