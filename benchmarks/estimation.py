"""What is known of a model before it runs: how fast, from how many bytes, and how right."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.estimates import estimate_figures
from benchmarks.figures import Figure
from benchmarks.headers import header_figures


def measure() -> Sequence[Figure]:
    """Measure reading headers, then compare estimates with the engine's own figures."""
    return [*header_figures(), *estimate_figures()]
