"""Whether the event loop goes on, and how late it is."""

from __future__ import annotations

import asyncio
import time

from motorpool_telemetry.counting import Histogram

PERIOD_SECONDS = 0.5
STALLED_SECONDS = 15.0
"""Far longer than anything on the loop may take: it does not go on."""


class Pulse:
    """Looks at the loop from within, and writes down how late it was; asked from without."""

    def __init__(self, lag: Histogram) -> None:
        self._lag = lag
        self._beat = time.monotonic()

    def stalled(self) -> str:
        """Return for how long the loop has not gone on, empty where it does; in any thread."""
        seconds = time.monotonic() - self._beat
        return f"the event loop has not gone on for {seconds:.0f} s" if seconds > STALLED_SECONDS else ""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            due = time.monotonic() + PERIOD_SECONDS
            await asyncio.sleep(PERIOD_SECONDS)
            self._beat = time.monotonic()
            self._lag.observe(max(0.0, self._beat - due))
