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


def test_a_large_fleet_comes_back_over_the_time_it_was_told() -> None:
    """
    The first try is soon, as after a stream that broke alone; the second one anywhere in the told time, and those after
    it that time apart, so that as many agents come in each second.
    """
    chances = iter([0.5, 0.25, 0.5, 1.0, 0.0])
    backoff = Backoff(lambda: next(chances))
    backoff.spread(50.0)

    assert [backoff.delay_seconds() for _ in range(5)] == [0.5, 12.5, 50.0, 52.5, 47.5]


def test_a_turn_that_was_given_is_taken_whatever_the_fleets_size() -> None:
    """
    Who was told when to come again comes then.
    """
    backoff = Backoff(lambda: 1.0)
    backoff.spread(50.0)
    backoff.delay_seconds()

    assert backoff.delay_seconds(7.0) == 9.0


def test_a_small_fleet_comes_back_as_soon_as_it_can() -> None:
    """
    A time below the usual delays changes none of them; one that leads soon is asked over the time of the fleet.
    """
    backoff = Backoff(lambda: 1.0)
    backoff.spread(0.5)

    assert [backoff.delay_seconds() for _ in range(3)] == [1, 2, 4]
    assert backoff.soon_seconds() == 4.0
    backoff.spread(50.0)
    assert backoff.soon_seconds() == 51.0


def test_one_for_which_there_was_no_room_comes_again_soon() -> None:
    """
    A try that came in its turn and was turned away waits for a fifth of the fleet's return at most, not for its next
    turn; then for twice that, up to all of it.
    """
    backoff = Backoff(lambda: 1.0)
    backoff.spread(50.0)

    assert [backoff.again_seconds() for _ in range(5)] == [11, 21, 41, 51, 51]
    backoff.reset()
    assert backoff.again_seconds() == 11
    backoff.reset()
    backoff.spread(0.5)
    assert [backoff.again_seconds() for _ in range(5)] == [4, 7, 13, 21, 21]
