"""In which order an agent asks controllers."""

from __future__ import annotations

from motorpool_agent.session.route import Route

KNOWN = ("a:1", "b:1", "c:1")


def round_of(route: Route, known: tuple[str, ...] = KNOWN) -> list[str]:
    route.begin()
    asked = []
    while (endpoint := route.next(known)) is not None:
        asked.append(endpoint)
    return asked


def test_each_is_asked_once_in_a_round() -> None:
    """
    A round is everyone that is known, in the order told.
    """
    assert list(KNOWN) == round_of(Route())


def test_the_one_that_welcomed_is_asked_first() -> None:
    """
    Where the session was is where it is looked for first, for as long as it answers.
    """
    route = Route()
    route.welcomed("b:1")

    assert ["b:1", "a:1", "c:1"] == round_of(route)


def test_the_one_that_did_not_answer_is_asked_last() -> None:
    """
    Of one that stands still each try costs long: the others come before it, also if the session was there.
    """
    route = Route()
    route.welcomed("a:1")
    route.failed("a:1")

    assert ["b:1", "c:1", "a:1"] == round_of(route)


def test_the_named_leader_is_asked_at_once() -> None:
    """
    Who is named by one that stands by comes next, known or not.
    """
    route = Route()
    route.begin()
    asked = [route.next(KNOWN)]
    route.named(("d:1",))
    asked.append(route.next(KNOWN))

    assert ["a:1", "d:1"] == asked


def test_those_that_name_each_other_end_a_round() -> None:
    """
    Two that stand by and name each other are asked a few times, and the round ends.
    """
    route = Route()
    route.begin()
    asked = []
    while (endpoint := route.next(("a:1", "b:1"))) is not None:
        asked.append(endpoint)
        route.named(("b:1",) if endpoint == "a:1" else ("a:1",))

    assert len(asked) <= 4
    assert {"a:1", "b:1"} == set(asked)
