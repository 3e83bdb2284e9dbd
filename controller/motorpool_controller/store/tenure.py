"""Until when a controller is certain to lead: others that stand by wait for longer than that."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator

LEASE_SECONDS = 15.0
"""How long a leader may be silent before one that stands by takes its place, unless the setting says otherwise."""
RETRY_SECONDS = (0.1, 5.0)
"""First and longest wait before a database that was lost is asked for again."""
_SHARE = 0.8
"""Of the lease: the other one's clock, which is the database server's, need not go at the same rate."""
_LOOKS = 3
"""In a lease: one that fails is no harm yet."""
LONGEST_LOOK_SECONDS = 5.0


def elapsed() -> float:
    """Return seconds that go on while the process, or the machine, is suspended."""
    # The monotonic clock stands still while a machine sleeps; a database elsewhere does not.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Tenure:
    """Renewed by each look at the database, and each write, that shows that nobody else took it over.

    Without a lease, for a database that nobody else can have, it never ends.
    """

    def __init__(self, lease_seconds: float | None, *, clock: Callable[[], float] = elapsed) -> None:
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._until = math.inf if lease_seconds is None else -math.inf
        self._failed = -math.inf

    @property
    def look_seconds(self) -> float | None:
        """How often a leader that writes nothing looks at the database; None where it need not."""
        return None if self._lease_seconds is None else min(LONGEST_LOOK_SECONDS, self._lease_seconds / _LOOKS)

    @property
    def certain(self) -> bool:
        """Whether nobody else can lead now."""
        return self._clock() < self._until

    @property
    def tried(self) -> bool:
        """Whether a look failed so short a time ago that this process has not stood still since."""
        return self._lease_seconds is not None and self._clock() < self._failed + self._lease_seconds

    def begin(self) -> float:
        """Return when a look or a write began; nobody can have waited for a whole lease since."""
        return self._clock()

    def renew(self, began: float) -> None:
        """Count on from a look or a write that went well."""
        if self._lease_seconds is not None:
            self._until = max(self._until, began + _SHARE * self._lease_seconds)

    def fail(self, began: float) -> None:
        """Remember a look that did not reach the database."""
        self._failed = max(self._failed, began)

    def end(self) -> None:
        """Be certain of nothing any more: this controller is about to leave the seat."""
        self._until = -math.inf


class Lookers:
    """Those who wait for a look at the database that begins after they asked."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def due(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def joined(self) -> asyncio.Future[None]:
        """Return what is done when the next look is over."""
        looked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(looked)
        return looked

    def taken(self) -> list[asyncio.Future[None]]:
        """Return those whose look begins now."""
        taken, self._waiting = self._waiting, []
        return taken

    @staticmethod
    def told(taken: Iterable[asyncio.Future[None]]) -> None:
        """Tell them that it is over."""
        for each in taken:
            if not each.done():
                each.set_result(None)


def backing_off() -> Iterator[float]:
    """Yield how long to wait before the next attempt, the longest for ever."""
    seconds = RETRY_SECONDS[0]
    while True:
        yield seconds
        seconds = min(2 * seconds, RETRY_SECONDS[1])
