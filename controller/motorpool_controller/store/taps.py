"""Log lines on their way from an agent to a reader. Bounded: an agent waits for a slow reader."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

BATCHES_KEPT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRequest:
    """What a reader asked for. A negative ``tail_lines`` means all that is kept.

    ``attempt`` is a number, or counts back from the present one, which is 0. Only lines of ``since_time`` and later, or
    of ``since_seconds`` ago. A former answer's ``position`` goes before all of that.
    """

    subscription_id: str
    assignment_id: str
    tail_lines: int
    follow: bool
    timeout_seconds: float
    attempt: int = 0
    since_time: datetime | None = None
    since_seconds: float | None = None
    timestamps: bool = False
    position: str = ""


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Some lines, and where they end in the log, empty where the agent does not say."""

    lines: tuple[str, ...]
    position: str = ""


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
        self.reason = ""
        """The agent's reason for that, where it has one."""
        self._batches: deque[LogBatch] = deque()
        self._ended = False
        self._changed = asyncio.Event()

    async def push(self, lines: Sequence[str], position: str = "") -> None:
        """Hand on some lines, once there is room for them; nothing happens when nobody reads any more."""
        while len(self._batches) >= BATCHES_KEPT and not self.left.is_set():
            self._changed.clear()
            await self._changed.wait()
        if lines and not self.left.is_set():
            self._batches.append(LogBatch(tuple(lines), position))
            self._changed.set()

    def end(self, error: str = "", reason: str = "") -> None:
        """Say that nothing more will come. What was pushed is still read."""
        if not self._ended:
            self._ended = True
            self.error, self.reason = error, reason
        self._changed.set()

    async def read(self) -> LogBatch | None:
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
