"""Counters and histograms: plain sums by labels, of which there are never more than so many."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

OTHER = "other"
"""Where a counter has as many series as it may, what would be one more counts as this."""
SERIES = 100


class Counter:
    """How often something happened, by its labels' values."""

    def __init__(self, name: str, documentation: str, *labels: str, most: int = SERIES) -> None:
        self.name = name
        self.documentation = documentation
        self.labels = labels
        self._most = most
        self._sums: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, *values: str, by: float = 1.0) -> None:
        """Count one more, or ``by`` more."""
        sums = self._sums
        if values not in sums:
            if len(sums) >= self._most:
                values = (OTHER,) * len(self.labels)
            sums.setdefault(values, 0.0)
        sums[values] += by

    def sums(self) -> Mapping[tuple[str, ...], float]:
        """Return the sums by labels' values; a copy, which may be taken in any thread."""
        return self._sums.copy()


class Histogram:
    """How long something took, by its labels' values: how often at most so many seconds, and all seconds together."""

    def __init__(
        self, name: str, documentation: str, *labels: str, buckets: Sequence[float], most: int = SERIES
    ) -> None:
        self.name = name
        self.documentation = documentation
        self.labels = labels
        self.buckets = tuple(buckets)
        self._most = most
        self._series: dict[tuple[str, ...], tuple[float, ...]] = {}
        if not labels:
            self._series[()] = self._zero

    @property
    def _zero(self) -> tuple[float, ...]:
        return (0.0,) * (len(self.buckets) + 2)

    def observe(self, seconds: float, *values: str) -> None:
        """Count one that took so long."""
        series = self._series
        if values not in series and len(series) >= self._most:
            values = (OTHER,) * len(self.labels)
        row = list(series.get(values) or self._zero)
        row[bisect_left(self.buckets, seconds)] += 1
        row[-1] += seconds
        # Replaced as a whole: who reads sees a count and a sum that belong together.
        series[values] = tuple(row)

    def rows(self) -> Mapping[tuple[str, ...], tuple[float, ...]]:
        """Return by labels' values how many fell into each bucket and above all, then the sum; in any thread."""
        return self._series.copy()
