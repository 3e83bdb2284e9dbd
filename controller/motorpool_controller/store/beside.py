"""What is asked of the database beside the writer: tokens. A few threads, and no endless queue before them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from motorpool_controller.store.errors import StoreBusyError
from motorpool_controller.store.pool import READERS

R = TypeVar("R")

MOST_WAITING = 500
SECONDS = 10.0


class Beside:
    """Runs functions that block on the database."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="store-reader")
        self._waiting = 0

    async def run(self, function: Callable[[], R]) -> R:
        """Return what a function returns; raise a StoreBusyError where too many wait, or it takes too long."""
        if self._waiting >= MOST_WAITING:
            raise StoreBusyError(f"{MOST_WAITING} calls wait for the database already; make the same call again")
        self._waiting += 1
        work = asyncio.get_running_loop().run_in_executor(self._threads, function)
        # Counted until it ran, not until nobody waits for it: a database that answers nothing fills the bound.
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
        self._threads.shutdown()

    def _ran(self, work: asyncio.Future[R]) -> None:
        self._waiting -= 1
        if not work.cancelled():
            work.exception()  # nobody may be left to be told
