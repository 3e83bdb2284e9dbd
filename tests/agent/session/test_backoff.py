"""How long to wait before the next try."""

from __future__ import annotations

import pytest

from motorpool_agent.session.backoff import Backoff


def test_the_ceiling_doubles_to_twenty_seconds() -> None:
    """
    Delays reach up to 1, 2, 4, 8, 16, then 20 seconds, for ever.
    """
    backoff = Backoff(lambda: 1.0)

    assert [backoff.delay_seconds() for _ in range(8)] == [1, 2, 4, 8, 16, 20, 20, 20]


@pytest.mark.parametrize("chance", [0.0, 0.3])
def test_jitter_is_full(chance: float) -> None:
    """
    The delay is a share of the ceiling, from nothing on.
    """
    assert Backoff(lambda: chance).delay_seconds() == chance


def test_what_the_controller_asked_for_is_waited_whole() -> None:
    """
    Jitter comes on top of RetryInfo.
    """
    assert Backoff(lambda: 0.5).delay_seconds(7.0) == 7.5


def test_a_success_begins_anew() -> None:
    """
    After a reset the first delay is short again.
    """
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.delay_seconds()
    backoff.reset()

    assert backoff.delay_seconds() == 1


def test_a_lasting_refusal_waits_near_the_cap() -> None:
    """
    What time alone does not mend is tried at half the cap or later.
    """
    assert Backoff(lambda: 0.0).longest_seconds() == 10
    assert Backoff(lambda: 1.0).longest_seconds(60.0) == 60
