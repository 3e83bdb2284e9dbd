import threading
from collections.abc import Iterator

import pytest

from motorpool_controller.catalog.budget import Budget, current, paying
from motorpool_controller.catalog.threads import READERS, spread

SECONDS = 30.0


def test_so_many_are_under_way_at_once_and_results_keep_their_order() -> None:
    """
    None ends before as many were begun, and the last of them ends first: results come in the order of the items.
    """
    together = threading.Barrier(READERS, timeout=SECONDS)
    ended = [threading.Event() for _ in range(READERS + 1)]
    ended[READERS].set()

    def work(item: int) -> int:
        together.wait()
        ended[item + 1].wait(SECONDS)
        ended[item].set()
        return item * 2

    assert [item * 2 for item in range(READERS)] == list(spread(work, range(READERS)))


def test_no_more_than_so_many_are_under_way() -> None:
    """
    An item is begun when an earlier one's result was taken: what waits to be read is bounded.
    """
    begun: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            begun.append(item)
            yield item

    results = spread(lambda item: item, items())
    for taken in range(1, 50):
        next(results)
        assert len(begun) <= taken + READERS - 1

    assert list(range(49, 100)) == list(results)


def test_the_budget_pays_for_what_they_do() -> None:
    """
    Whoever begins work pays for it: its budget is the one that each thread finds.
    """
    budget = Budget(60.0)

    with paying(budget):
        found = list(spread(lambda _: current(), range(9)))

    assert [budget] * 9 == found


def test_what_goes_wrong_is_raised_in_its_place() -> None:
    """
    What came before the item that fails is given, and then its error.
    """

    def work(item: int) -> int:
        if item >= 2:
            raise ValueError(item)
        return item

    results = spread(work, range(9))

    assert [0, 1] == [next(results), next(results)]
    with pytest.raises(ValueError, match="2"):
        next(results)
