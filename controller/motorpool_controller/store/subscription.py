"""Changes as they are committed, for those who follow them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Self

from motorpool_controller.domain.errors import OutOfRangeError
from motorpool_controller.store.pending import Change

# A reader that is this many objects behind is not reading; it lists again.
PENDING_LIMIT = 50_000


class Subscription(AsyncIterator[Change]):
    """Changes in the order of their revisions. Of several unread changes of one object the last one comes."""

    def __init__(self, revision: int, missed: Iterable[Change] = ()) -> None:
        self._read_revision = revision
        self._pending: dict[tuple[str, str], Change] = {}
        self._arrived = asyncio.Event()
        self._overflowed = False
        self._closed = False
        self.publish(missed, revision)

    @property
    def resume_revision(self) -> int:
        """The revision to subscribe from later so that nothing after the last change read is missed."""
        if not self._pending:
            return self._read_revision
        # More of the last revision may be waiting; it is then read again.
        return min(self._read_revision, next(iter(self._pending.values())).revision - 1)

    @property
    def is_read(self) -> bool:
        """Whether everything that was committed has been read."""
        return not self._pending and not self._overflowed

    def publish(self, changes: Iterable[Change], revision: int) -> None:
        """Take in what was committed."""
        if self._overflowed or self._closed:
            return
        quiet = not self._pending
        # Of one revision in one order, so that a reader can say how far in it he came.
        for change in sorted(changes, key=lambda each: (each.revision, each.kind, each.name)):
            key = (change.kind, change.name)
            self._pending.pop(key, None)
            self._pending[key] = change
        if len(self._pending) > PENDING_LIMIT:
            self._overflowed = True
            self._pending.clear()
        elif quiet and not self._pending:
            self._read_revision = revision
        if self._pending or self._overflowed:
            self._arrived.set()

    def take(self) -> list[Change]:
        """Return everything that is waiting, without waiting for more."""
        self._check()
        taken = list(self._pending.values())
        self._pending.clear()
        self._arrived.clear()
        if taken:
            self._read_revision = taken[-1].revision
        return taken

    async def wait(self) -> None:
        """Return as soon as something is waiting."""
        await self._arrived.wait()

    async def __anext__(self) -> Change:
        """Return the next change, waiting for it if need be."""
        while not self._pending:
            self._check()
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        change = self._pending.pop(next(iter(self._pending)))
        self._read_revision = change.revision
        if not self._pending:
            self._arrived.clear()
        return change

    def close(self) -> None:
        """End it: nothing more is kept, and a waiting reader stops."""
        self._closed = True
        self._pending.clear()
        self._arrived.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        if self._overflowed:
            raise OutOfRangeError(
                "HISTORY_COMPACTED",
                f"more than {PENDING_LIMIT} changes waited to be read; list again, then watch from there",
            )
