"""Work that is done one piece at a time, and pieces of it that are done whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class Work:
    """At most one task at any time; new work begins after what is under way was cancelled and has ended."""

    def __init__(self, name: str, failed: Callable[[Exception], None]) -> None:
        self._name = name
        self._failed = failed
        self._task: asyncio.Task[None] | None = None

    def switch(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have ``work`` done instead of what is under way."""
        self._task = asyncio.create_task(self._after(self._task, work), name=self._name)

    async def close(self) -> None:
        """Cancel what is under way and wait for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _after(self, before: asyncio.Task[None] | None, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if before is not None:
            before.cancel()
            await whole(_settled(before))
        try:
            await work()
        except Exception as error:  # noqa: BLE001  # a fault of ours must not look like work in progress
            self._failed(error)


async def _settled(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task})


async def whole(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Await ``work`` to its end even if cancelled meanwhile; the cancellation comes after it."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            # Retrieved, so that it is not reported as lost.
            task.exception()
        raise cancelled
    return task.result()
