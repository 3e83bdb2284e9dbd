"""What one look-up may cost, and what it has cost so far."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from motorpool_controller.domain.errors import PreconditionError, UnavailableError
from motorpool_controller.domain.sizes import in_words

MOST_BYTES = 256 << 20
"""All headers of the largest models there are take a tenth of this."""

MOST_ANSWER_BYTES = 32 << 20
"""One answer that is held whole: a listing, or an error."""

REQUEST_SECONDS = 15.0
"""How long a hub may be silent within one request."""

RETRY_SECONDS = 30.0
"""When to try again what did not work now, where the hub does not say."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a look-up has cost so far."""

    requests: int = 0
    fetched_bytes: int = 0
    file: str = ""
    """What is being read; empty at first."""


class Budget:
    """The time and bytes of one look-up. Checked at every request and every piece of an answer, in its threads."""

    def __init__(
        self,
        seconds: float,
        *,
        most_bytes: int = MOST_BYTES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._clock = clock
        self._sleep = sleep
        self._end = clock() + seconds
        self._counting = threading.Lock()
        self._requests = 0
        self._fetched_bytes = 0
        self._file = ""

    @property
    def spent(self) -> Spent:
        """What it has cost so far; may be asked from another thread."""
        return Spent(self._requests, self._fetched_bytes, self._file)

    def reading(self, file: str) -> None:
        """Note which file is being read."""
        self._file = file

    def request_seconds(self) -> float:
        """Return how long the next request may wait for a sign of life; raise when there is no time left."""
        remaining = self._end - self._clock()
        if remaining <= 0:
            raise self.over()
        return min(remaining, REQUEST_SECONDS)

    def requested(self) -> None:
        """Count a request."""
        self.request_seconds()
        with self._counting:
            self._requests += 1

    def fetched(self, count: int) -> None:
        """Count bytes of an answer."""
        self.request_seconds()
        with self._counting:
            self._fetched_bytes += count
        if self._fetched_bytes > self._most_bytes:
            raise PreconditionError(
                "HUB_ANSWER_INVALID",
                f"more than {in_words(self._most_bytes)} were sent for one model, whose headers are far smaller; the "
                "hub, or a proxy before it, does not send what was asked for",
            )

    def wait(self, seconds: float) -> bool:
        """Wait before another try, and return True; at once False where the time left is shorter than that."""
        if self._clock() + seconds >= self._end:
            return False
        self._sleep(seconds)
        return True

    def pauses(self) -> Iterator[float]:
        """Give the pauses between tries: half a second, one, two, each a little off, so that callers part."""
        for seconds in (0.5, 1.0, 2.0):
            yield seconds * random.uniform(0.75, 1.25)  # noqa: S311  # no secret

    def over(self) -> UnavailableError:
        """Return the error of a look-up that took too long."""
        doing = f" (at {self._file})" if self._file else ""
        return UnavailableError(
            "HUB_TIMEOUT",
            f"the model was not read within {self._seconds:.0f} s{doing}; nothing is known of it, and nothing was "
            "kept: try again, or give more time with hub_seconds in the controller's settings",
            retry_seconds=RETRY_SECONDS,
        )


_CURRENT: ContextVar[Budget | None] = ContextVar("budget", default=None)


def current() -> Budget | None:
    """Return the budget that pays for what this thread does; None where nobody counts."""
    return _CURRENT.get()


@contextmanager
def paying(budget: Budget) -> Iterator[Budget]:
    """Have a budget pay for the requests of a block, whichever library makes them."""
    token = _CURRENT.set(budget)
    try:
        yield budget
    finally:
        _CURRENT.reset(token)
