"""Blocking work in threads that nobody has to wait for: a hung Docker Engine holds up neither the loop nor the exit."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


async def threaded(work: Callable[[], _Result], name: str) -> _Result:
    """Return what ``work`` returns in a thread of its own; cancelled, the thread goes on and its result is dropped.

    Not asyncio.to_thread: its pool is small, shared, and waited for when the process ends.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def succeed(result: _Result) -> None:
        if not future.done():
            future.set_result(result)

    def fail(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    def run() -> None:
        # The loop may be closed by the time that a hung call returns.
        with contextlib.suppress(RuntimeError):
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  # raised where it is awaited
                loop.call_soon_threadsafe(fail, error)
            else:
                loop.call_soon_threadsafe(succeed, result)

    threading.Thread(target=run, name=f"docker {name}", daemon=True).start()
    return await future
