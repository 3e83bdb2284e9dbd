from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.estimation.fitting import largest_context, least_fraction, most_fraction


def test_the_largest_context_is_found() -> None:
    """
    In whole steps, or all the model was made for.
    """
    assert largest_context(lambda length: 1000 + length, 5000, 100_000) == 3840
    assert largest_context(lambda length: 1000 + length, 1_000_000, 100_000) == 100_000
    assert largest_context(lambda length: 1000 + length, 1200, 100_000) is None
    assert largest_context(lambda _: None, 1 << 60, 100_000) is None
    assert largest_context(lambda length: length, 1 << 60, 100) == 100


@given(st.integers(0, 1 << 40), st.integers(1, 1 << 20), st.integers(0, 1 << 41), st.integers(1, 200_000))
def test_the_largest_context_fits_and_the_next_does_not(base: int, each: int, free: int, most: int) -> None:
    """
    Nothing longer would have fitted but for less than a step.
    """
    found = largest_context(lambda length: base + each * length, free, most)

    if found is None:
        assert base + each * min(256, most) > free
    else:
        assert base + each * found <= free
        assert found == most or base + each * min(found + 256, most) > free


@pytest.mark.parametrize(("need", "total", "fraction"), [(40, 100, 0.4), (1, 3, 0.334), (100, 100, 1.0)])
def test_the_least_fraction_holds_the_need(need: int, total: int, fraction: float) -> None:
    """
    A25: three decimals, rounded up.
    """
    assert least_fraction(need, total) == fraction


def test_no_fraction_holds_more_than_the_device() -> None:
    """
    Nor does any of a device without memory.
    """
    assert least_fraction(101, 100) is None
    assert least_fraction(1, 0) is None


@pytest.mark.parametrize(
    ("free", "total", "fraction"), [(78, 80, 0.975), (2, 3, 0.666), (90, 80, 1.0), (-1, 80, 0.0), (5, 0, 0.0)]
)
def test_the_most_fraction_is_free(free: int, total: int, fraction: float) -> None:
    """
    A26: three decimals, rounded down, so that what is reserved stays so.
    """
    assert most_fraction(free, total) == fraction
