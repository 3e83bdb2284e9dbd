"""How fast something goes on of late."""

from motorpool_agent.runtime.speed import Speed


def test_it_is_told_once_a_second_over_the_last_ones() -> None:
    """
    Nothing before two moments are known; then the bytes of the last ten seconds.
    """
    now = 0.0
    speed = Speed(lambda: now)
    first, before = speed.due(0), speed.bytes_per_second
    now = 0.4
    soon = speed.due(100)
    told = []
    for second, done in ((1.0, 100), (2.0, 300), (20.0, 300), (21.0, 1300)):
        now = second
        assert speed.due(done)
        told.append(speed.bytes_per_second)

    assert (True, None, False) == (first, before, soon)
    assert [100, 150, 0, 53] == told


def test_what_begins_anew_is_measured_anew() -> None:
    """
    Fewer bytes than before are another beginning, and no negative speed.
    """
    now = 0.0
    speed = Speed(lambda: now)
    speed.due(500)
    now = 5.0
    speed.due(10)

    assert speed.bytes_per_second is None
