"""How fast something of late goes on that is counted in bytes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 10.0
PERIOD_SECONDS = 1.0


class Speed:
    """Bytes a second over the last seconds; ``due`` says whether it is time to tell of it again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque()

    def due(self, done_bytes: int) -> bool:
        """Take how much is done, and return whether so long went by since this was last said."""
        now = self._clock()
        if self._marks and now - self._marks[-1][0] < PERIOD_SECONDS:
            return False
        if self._marks and done_bytes < self._marks[-1][1]:
            self._marks.clear()  # begun anew
        self._marks.append((now, done_bytes))
        while len(self._marks) > 1 and now - self._marks[1][0] >= WINDOW_SECONDS:
            self._marks.popleft()
        return True

    @property
    def bytes_per_second(self) -> int | None:
        """How many came in a second; None before that can be told."""
        if len(self._marks) <= 1:
            return None
        (began, before), (now, done) = self._marks[0], self._marks[-1]
        return round((done - before) / (now - began))
