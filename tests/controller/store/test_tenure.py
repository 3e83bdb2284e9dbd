"""How long a leader is certain to be one."""

from __future__ import annotations

from motorpool_controller.store.tenure import Tenure


class Time:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_it_is_counted_from_before_the_look() -> None:
    """
    A look renews from when it began, for less than the lease: others wait for the whole lease from when it was heard.
    """
    time = Time()
    tenure = Tenure(10.0, clock=time)
    assert not tenure.certain
    began = tenure.begin()
    time.seconds += 3
    tenure.renew(began)
    assert tenure.certain
    time.seconds = began + 7.9
    assert tenure.certain
    time.seconds = began + 8.1
    assert not tenure.certain


def test_an_older_look_takes_nothing_back() -> None:
    """
    Looks may end in another order than they began.
    """
    time = Time()
    tenure = Tenure(10.0, clock=time)
    tenure.renew(100.0)
    tenure.renew(95.0)
    time.seconds = 107.0

    assert tenure.certain


def test_one_alone_is_always_certain() -> None:
    """
    A file of one's own has no other controller, and needs no looks.
    """
    tenure = Tenure(None)

    assert (True, None) == (tenure.certain, tenure.look_seconds)


def test_a_failed_look_is_forgotten_after_a_lease() -> None:
    """
    That a look failed says for a lease that this process has not stood still.
    """
    time = Time()
    tenure = Tenure(10.0, clock=time)
    assert not tenure.tried
    tenure.fail(tenure.begin())
    assert tenure.tried
    time.seconds += 10.0
    assert not tenure.tried
