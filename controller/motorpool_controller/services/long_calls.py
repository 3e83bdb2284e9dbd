"""Streams in progress: so many a caller, and each is cut once its caller may not make it any more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self, TypeVar

from motorpool_controller.domain.errors import DomainError, RateLimitedError
from motorpool_controller.services.callers import Caller
from motorpool_controller.store.errors import StoreError

R = TypeVar("R")

LOOK_SECONDS = 2.0
"""How long a stream may outlast the token, the certificate or the node that it was opened with."""
AT_ONCE = 250
"""How many of them are looked at in one stretch: less than a millisecond's work."""
MOST_OF_ONE = 100
"""Streams of one caller. A command has one; so many are a loop that forgets to close them."""
RETRY_SECONDS = 5.0


class Standing(Protocol):
    """Tells which callers may not go on."""

    async def ended(self, callers: Iterable[Caller]) -> Mapping[Caller, DomainError]:
        """Return those, and why."""
        ...


class LongCall:
    """One of them: counted while the block lasts, in which its handler runs. What ``end`` interrupts raises why.

    No generator: each session of a fleet would have the generator's frame for as long as it lasts.
    """

    __slots__ = ("_calls", "_task", "caller", "cut")

    def __init__(self, caller: Caller, calls: LongCalls) -> None:
        self.caller = caller
        self.cut: DomainError | None = None
        self._calls = calls
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._calls.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.leave(self)
        if self.cut is not None and isinstance(error, asyncio.CancelledError):
            if self._task is not None:
                self._task.uncancel()
            raise self.cut from None

    def end(self, why: DomainError) -> None:
        """Interrupt its handler."""
        if self.cut is None and self._task is not None:
            self.cut = why
            self._task.cancel()


class LongCalls:
    """The streams of one listener."""

    def __init__(self, standing: Standing, *, look_seconds: float = LOOK_SECONDS, most: int = MOST_OF_ONE) -> None:
        self._standing = standing
        self._look_seconds = look_seconds
        self._most = most
        self._calls: set[LongCall] = set()
        self._of: Counter[str] = Counter()
        self._looking: asyncio.Task[None] | None = None

    def entered(self, caller: Caller) -> LongCall:
        """Return a stream, which counts while its block lasts."""
        return LongCall(caller, self)

    def enter(self, call: LongCall) -> None:
        """Count a stream in; raise where its caller has too many."""
        who = _whose(call)
        if self._of[who] >= self._most:
            raise RateLimitedError(
                "TOO_MANY_STREAMS",
                f"{call.caller.actor} has {self._most} streams open already; end some, or use a token each",
                retry_seconds=RETRY_SECONDS,
            )
        self._calls.add(call)
        self._of[who] += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="streams looked after")

    def leave(self, call: LongCall) -> None:
        """Count a stream out."""
        who = _whose(call)
        self._calls.discard(call)
        self._of[who] -= 1
        if not self._of[who]:
            del self._of[who]
        if not self._calls and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def end(self, why: DomainError) -> None:
        """Interrupt them all."""
        for call in list(self._calls):
            call.end(why)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            # A database that is away revokes nobody; it is asked again.
            with suppress(StoreError):
                calls = list(self._calls)
                for first in range(0, len(calls), AT_ONCE):
                    await self._look_at(calls[first : first + AT_ONCE])
                    await asyncio.sleep(0)  # a fleet is ten thousand of them, and others wait

    async def _look_at(self, calls: Sequence[LongCall]) -> None:
        ended = await self._standing.ended([call.caller for call in calls])
        for call in calls:
            if call.caller in ended:
                call.end(ended[call.caller])


def _whose(call: LongCall) -> str:
    return call.caller.token_id or call.caller.node
