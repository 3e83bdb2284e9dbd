"""The largest that fits: contexts, and fractions of a device (A25, A26). For what-if answers and refusals."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

THOUSANDTHS = 1_000
"""Fractions are told to three decimals, as engines round them (B7.1)."""


def largest_context(need_of: Callable[[int], int | None], free_bytes: int, most: int, step: int = 256) -> int | None:
    """Return the longest context, of whole steps or ``most``, that fits; None where none does or needs are unknown.

    ``need_of`` must not fall as the context grows, which holds for every rule here.
    """
    lengths = [*range(step, most, step), most] if most > 0 else []

    def exceeds(length: int) -> bool:
        need = need_of(length)
        return need is None or need > free_bytes

    fitting = bisect_right(lengths, False, key=exceeds)
    return lengths[fitting - 1] if fitting else None


def least_fraction(need_bytes: int, total_bytes: int) -> float | None:
    """Return the smallest fraction of a device that holds the need; None where the device does not."""
    if not 0 < need_bytes <= total_bytes:
        return None
    thousandths = -(-need_bytes * THOUSANDTHS // total_bytes)
    return thousandths / THOUSANDTHS


def most_fraction(free_bytes: int, total_bytes: int) -> float:
    """Return the largest fraction of a device that is free: what others hold and what is reserved are left out."""
    if total_bytes <= 0:
        return 0.0
    return max(min(free_bytes, total_bytes), 0) * THOUSANDTHS // total_bytes / THOUSANDTHS
