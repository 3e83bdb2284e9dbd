"""What is asked of the database beside the writer: tokens. A few threads, and no endless queue before them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from motorpool_controller import metrics
from motorpool_controller.store.errors import StoreBusyError, StoreError
from motorpool_controller.store.pool import READERS

R = TypeVar("R")

MOST_WAITING = 500
SECONDS = 10.0
SILENT_SECONDS = 5.0
"""A read takes milliseconds: where one has waited for so long, the database answers none."""
FAULT_SECONDS = 10.0


class Beside:
    """Runs functions that block on the database."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="store-reader")
        self._closed = False
        self._waiting: dict[asyncio.Future[object], float] = {}
        """What is under way, the oldest first, and since when."""
        self._fault = ""
        """Why the last read failed, empty where it did not, and when it ended."""
        self._ended = 0.0

    def silent(self) -> str:
        """Return why the database answers no reads, empty where it does; may be asked from any thread."""
        # A copy, which nothing interrupts: the loop goes on adding to it.
        oldest = min(list(self._waiting.values()), default=None)
        seconds = 0.0 if oldest is None else time.monotonic() - oldest
        if seconds > SILENT_SECONDS:
            return f"the database has not answered a read for {seconds:.0f} s"
        # Who is told so may read no more: after a while it is not known any longer.
        return self._fault if time.monotonic() - self._ended < FAULT_SECONDS else ""

    async def run(self, function: Callable[[], R]) -> R:
        """Return what a function returns; raise a StoreBusyError where too many wait, or it takes too long."""
        if len(self._waiting) >= MOST_WAITING:
            metrics.BUSY.add("read")
            raise StoreBusyError(f"{MOST_WAITING} calls wait for the database already; make the same call again")
        if self._closed:
            raise StoreError("the controller is stopping; make the same call again")
        work = asyncio.get_running_loop().run_in_executor(self._threads, function)
        # Counted until it ran, not until nobody waits for it: a database that answers nothing fills the bound.
        self._waiting[work] = time.monotonic()  # type: ignore[index]  # a future of something
        work.add_done_callback(self._ran)
        try:
            async with asyncio.timeout(SECONDS):
                return await asyncio.shield(work)
        except TimeoutError:
            raise StoreBusyError(
                f"the database did not answer within {SECONDS:g} s; make the same call again"
            ) from None

    def close(self) -> None:
        """Wait for what is under way, and end."""
        self._closed = True
        self._threads.shutdown()

    def _ran(self, work: asyncio.Future[R]) -> None:
        del self._waiting[work]  # type: ignore[arg-type]  # as above
        if not work.cancelled():
            error = work.exception()  # nobody may be left to be told
            self._ended = time.monotonic()
            self._fault = str(error) if isinstance(error, StoreError) else ""
