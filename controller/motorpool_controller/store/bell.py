"""Wakes the one task that waits for it."""

from __future__ import annotations

import asyncio


class Bell:
    """Is rung, by whomever, for the one who waits: an ``asyncio.Event`` has a queue of them, most of a kilobyte."""

    __slots__ = ("_rung", "_waiting")

    def __init__(self) -> None:
        self._rung = False
        self._waiting: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        """Return whether it was rung, and not cleared since."""
        return self._rung

    def set(self) -> None:
        """Ring."""
        self._rung = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def clear(self) -> None:
        """Have the next who waits wait until it is rung again."""
        self._rung = False

    async def wait(self, seconds: float) -> None:
        """Return once it was rung; it rings by itself when the time is over."""
        if self._rung:
            return
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        timer = loop.call_later(seconds, self.set)
        try:
            await self._waiting
        finally:
            timer.cancel()
            self._waiting = None
