"""Holds that nothing inside a transaction waits for anything: no file, socket, process or sleep."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from motorpool_controller.store.transaction import Transaction

T = TypeVar("T")

WAITS = frozenset(
    {"open", "os.system", "socket.bind", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "time.sleep"}
)

_inside: list[str] = []


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    # A module that is imported late is read from a file, once.
    if _inside and event in WAITS and not str(arguments[:1]).rstrip("',)").endswith((".py", ".pyc")):
        raise AssertionError(f"a change waits inside its transaction: {event} {arguments[:1]}")


sys.addaudithook(_audit)  # for ever, so it does nothing outside of changes


def unwaiting(change: Callable[[Transaction], T]) -> Callable[[Transaction], T]:
    """Return the change, which fails where it waits."""

    def guarded(tx: Transaction) -> T:
        _inside.append("")
        try:
            return change(tx)
        finally:
            _inside.pop()

    return guarded
