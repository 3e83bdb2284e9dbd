"""Rows that take the place of others do not pile up before the interpreter's collector."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator

import pytest

from motorpool_controller.garbage import YOUNG_SECONDS, collect_young, spare

ROWS = 50_000


class Row(list[int]):
    """Something that the collector has to look at."""

    itself: Row


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Collect as before once the test is over."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_takes_the_place_of_others_is_looked_through_within_a_moment() -> None:
    """
    Rows that replace as many wait for the collector for good where nothing asks for it, and for a moment where it does.
    """
    spare()
    rows = [Row() for _ in range(ROWS)]
    gc.collect()
    for number in range(ROWS):
        rows[number] = Row()
    assert ROWS * 0.7 < _young()

    asyncio.run(_a_moment())

    assert 0 == _young()
    assert ROWS == len(rows)


def test_cycles_are_freed_within_a_moment() -> None:
    """
    What refers to itself is gone after the same time, and nothing has to be collected in full for it.
    """
    spare()
    full = gc.get_stats()[2]["collections"]
    for _ in range(100):
        _refer_to_itself()

    asyncio.run(_a_moment())

    assert not any(isinstance(one, Row) for one in gc.get_objects())
    assert full == gc.get_stats()[2]["collections"]


def _refer_to_itself() -> None:
    row = Row()
    row.itself = row


async def _a_moment() -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(YOUNG_SECONDS * 4):
            await collect_young()


def _young() -> int:
    return sum(isinstance(one, Row) for generation in (0, 1) for one in gc.get_objects(generation))
