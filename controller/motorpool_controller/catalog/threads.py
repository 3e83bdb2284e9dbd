"""Work in threads of a look-up: daemons, which end with their request or the process, paid for by its budget."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

READERS = 4
"""Files of one model that are read at once. With what is begun ahead of them, a hub sees a dozen requests at most."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def begun(work: Callable[[], _Result], name: str) -> Future[_Result]:
    """Begin work in a thread of its own; what goes wrong is raised by whoever asks for the result."""
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001  # raised again where the result is wanted
            future.set_exception(error)

    # The budget comes along with the context.
    threading.Thread(target=contextvars.copy_context().run, args=(run,), name=name, daemon=True).start()
    return future


def spread(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Return what ``map`` would, in its order, with at most ``READERS`` items under way at a time."""
    remaining = iter(items)
    underway: deque[Future[_Result]] = deque()
    while True:
        for item in remaining:
            underway.append(begun(lambda item=item: work(item), "read a part"))  # type: ignore[misc]  # mypy infers no defaults
            if len(underway) >= READERS:
                break
        if not underway:
            return
        yield underway.popleft().result()
