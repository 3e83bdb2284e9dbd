"""How often something may be done: a bucket for each place that it comes from, and one for all."""

from __future__ import annotations

from dataclasses import dataclass

MOST_PLACES = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and then so many a second."""

    burst: int
    per_second: float

    @property
    def full_seconds(self) -> float:
        """How long until an empty bucket is full again."""
        return self.burst / self.per_second


@dataclass(slots=True)
class _Bucket:
    left: float
    time: float


class Rates:
    """Counts what is done. Times are monotonic seconds, and the caller's."""

    def __init__(self, of_one: Rate, of_all: Rate, *, most_places: int = MOST_PLACES) -> None:
        self._of_one = of_one
        self._of_all = of_all
        self._most_places = most_places
        self._all = _Bucket(of_all.burst, 0.0)
        self._places: dict[str, _Bucket] = {}

    def wait_seconds(self, place: str, now: float) -> float:
        """Return how long until one more may be done from there; 0 for now. Counts nothing."""
        return max(
            _wait(self._all, self._of_all, now),
            _wait(self._places.get(place) or _Bucket(self._of_one.burst, now), self._of_one, now),
        )

    def count(self, place: str, now: float) -> None:
        """One more was done from there."""
        self._all = _less(self._all, self._of_all, now)
        # Last the one that was used last: the first are those that may be full, or are forgotten first.
        self._places[place] = _less(self._places.pop(place, _Bucket(self._of_one.burst, now)), self._of_one, now)
        while len(self._places) > self._most_places or self._first_is_full(now):
            del self._places[next(iter(self._places))]

    def _first_is_full(self, now: float) -> bool:
        first = next(iter(self._places.values()))
        return now - first.time >= self._of_one.full_seconds


def _left(bucket: _Bucket, rate: Rate, now: float) -> float:
    return min(float(rate.burst), bucket.left + max(0.0, now - bucket.time) * rate.per_second)


def _wait(bucket: _Bucket, rate: Rate, now: float) -> float:
    return max(0.0, (1.0 - _left(bucket, rate, now)) / rate.per_second)


def _less(bucket: _Bucket, rate: Rate, now: float) -> _Bucket:
    # Not below nothing: who goes on while refused does not wait the longer for it.
    return _Bucket(max(0.0, _left(bucket, rate, now) - 1.0), now)
