import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.services.callers import address_of, site_of
from motorpool_controller.services.rates import Rate, Rates

ONE, ALL = Rate(burst=2, per_second=1.0), Rate(burst=3, per_second=10.0)


def used(rates: Rates, place: str, times: int, now: float = 0.0) -> Rates:
    for _ in range(times):
        assert 0 == rates.wait_seconds(place, now)
        rates.count(place, now)
    return rates


def test_who_did_it_too_often_waits_for_the_next_one() -> None:
    """
    After its burst a place waits for as long as the next one takes; others are not made to wait for it.
    """
    rates = used(Rates(ONE, ALL), "a", 2)

    assert pytest.approx(1.0) == rates.wait_seconds("a", 0.0)
    assert pytest.approx(0.25) == rates.wait_seconds("a", 0.75)
    assert (0.0, 0.0) == (rates.wait_seconds("a", 1.0), rates.wait_seconds("b", 0.0))


def test_all_together_have_a_bound_of_their_own() -> None:
    """
    Many places that each do little wait for the bound of all.
    """
    rates = Rates(ONE, ALL)
    for place in "abc":
        used(rates, place, 1)

    assert pytest.approx(0.1) == rates.wait_seconds("d", 0.0)


def test_going_on_while_refused_makes_nobody_wait_longer() -> None:
    """
    What is counted beyond the bound is not remembered against anyone.
    """
    rates = used(Rates(ONE, ALL), "a", 2)
    for _ in range(50):
        rates.count("a", 0.0)

    assert pytest.approx(1.0) == rates.wait_seconds("a", 0.0)


def test_places_are_forgotten() -> None:
    """
    However many addresses there are, few are kept: those whose time is over go, and then the oldest.
    """
    rates = Rates(ONE, Rate(burst=10_000, per_second=1_000.0), most_places=10)
    for number in range(1_000):
        rates.count(f"p{number}", 0.0)
    assert 10 == len(rates._places)

    rates.count("late", 100.0)
    assert ["late"] == list(rates._places)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 0.5)), max_size=60))
def test_no_place_gets_more_than_its_rate(steps: list[tuple[str, float]]) -> None:
    """
    Whenever anyone asks, a place is let in no more often than its burst and its rate allow.
    """
    rates, now, let_in = Rates(ONE, ALL), 0.0, dict.fromkeys("abc", 0)
    for place, passed in steps:
        now += passed
        if rates.wait_seconds(place, now) == 0:
            rates.count(place, now)
            let_in[place] += 1

    assert max(let_in.values()) <= ONE.burst + now * ONE.per_second + 1e-6
    assert sum(let_in.values()) <= ALL.burst + now * ALL.per_second + 1e-6


@pytest.mark.parametrize(
    ("peer", "address", "site"),
    [
        ("ipv4:192.0.2.7:4711", "192.0.2.7", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1:2%5D:4711", "2001:db8::1:2", "2001:db8::/64"),
        ("ipv6:[::ffff:192.0.2.7]:4711", "::ffff:192.0.2.7", "192.0.2.7"),
        ("ipv6:%5Bfe80::1%25eth0%5D:4711", "fe80::1%eth0", "fe80::/64"),
        ("unix:/run/motorpool", "unix:/run/motorpool", "unix:/run/motorpool"),
        ("", "", ""),
    ],
)
def test_an_address_is_read_out_of_a_peer(peer: str, address: str, site: str) -> None:
    """
    Ports do not count, and of IPv6 the /64, out of which one machine takes as many addresses as it likes.
    """
    assert (address, site) == (address_of(peer), site_of(address_of(peer)))
