"""Calls into code that may never return, in a thread of their own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from motorpool_sdk.hardware.sources import Unavailable

T = TypeVar("T")
_Job = tuple[Callable[[], Any], Future[Any]]


class Bounded:
    """One thread for one source. A call that takes too long is left behind in it, and the source with it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._stuck: Future[Any] | None = None
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], T], timeout_seconds: float) -> T:
        """Return what ``function`` returns; raises Unavailable where it takes longer, or an earlier one still does."""
        if self._stuck is not None and not self._stuck.done():
            raise Unavailable(f"{self._name} still hangs in an earlier call; look for its driver in `dmesg`")
        self._stuck = None
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        done: Future[T] = Future()
        self._jobs.put((function, done))
        try:
            return done.result(timeout_seconds)
        except TimeoutError:
            if done.done():  # It was the function's own.
                raise
            self._stuck = done
            raise Unavailable(
                f"{self._name} did not answer within {timeout_seconds:g} s; look for its driver in `dmesg`"
            ) from None

    def _work(self) -> None:
        while True:
            function, done = self._jobs.get()
            try:
                done.set_result(function())
            except BaseException as error:  # noqa: BLE001  # whoever waits for it gets it
                done.set_exception(error)
