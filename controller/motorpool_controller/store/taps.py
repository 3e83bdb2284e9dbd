"""Log lines on their way from an agent to a reader. Bounded: an agent waits for a slow reader."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

BATCHES_KEPT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRequest:
    """What a reader asked for. A negative ``tail_lines`` means all that is kept."""

    subscription_id: str
    assignment_id: str
    tail_lines: int
    follow: bool
    previous: bool
    timeout_seconds: float


class LogTap:
    """One reader's subscription: the agent pushes, the reader reads, either may leave at any time."""

    def __init__(self, node: str, request: LogRequest) -> None:
        self.node = node
        self.request = request
        self.dialled = asyncio.Event()
        """An agent began to send."""
        self.left = asyncio.Event()
        """Nobody reads any more."""
        self.error = ""
        """Why there are no more lines, where that is a fault."""
        self._batches: deque[tuple[str, ...]] = deque()
        self._ended = False
        self._changed = asyncio.Event()

    async def push(self, lines: Sequence[str]) -> None:
        """Hand on some lines, once there is room for them; nothing happens when nobody reads any more."""
        while len(self._batches) >= BATCHES_KEPT and not self.left.is_set():
            self._changed.clear()
            await self._changed.wait()
        if lines and not self.left.is_set():
            self._batches.append(tuple(lines))
            self._changed.set()

    def end(self, error: str = "") -> None:
        """Say that nothing more will come. What was pushed is still read."""
        if not self._ended:
            self._ended = True
            self.error = error
        self._changed.set()

    async def read(self) -> tuple[str, ...] | None:
        """Return the next lines, waiting for them; None after the last."""
        while not self._batches:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        self._changed.set()
        return self._batches.popleft()

    def leave(self) -> None:
        """Stop reading."""
        self.left.set()
        self._batches.clear()
        self._changed.set()
