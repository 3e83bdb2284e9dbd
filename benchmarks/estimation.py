"""What is known of a model before it runs: how fast, from how many bytes, and how right."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import Figure
from benchmarks.headers import header_figures


def measure() -> Sequence[Figure]:
    """Measure reading headers."""
    return header_figures()
