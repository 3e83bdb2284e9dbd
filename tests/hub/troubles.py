"""How a hub misbehaves, one request at a time."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Trouble:
    """What happens to the next ``times`` requests whose "METHOD /path" matches; -1 for all of them.

    Without a status the request is answered as it should be, but for the rest: ``until`` keeps it waiting, ``cut`` ends
    the connection after so many bytes of the body, ``whole`` ignores ranges, ``shift`` sends the range beside the one
    that was asked for, ``grow`` claims and sends a body of so many bytes more.
    """

    match: str
    times: int = 1
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    until: threading.Event | None = None
    cut: int | None = None
    whole: bool = False
    shift: int = 0
    hold: int | None = None
    """Wait for ``until`` before the bytes from here on in the file."""
    spoil: bool = False
    """Send other bytes than those of the file."""
    drip: bool = False
    """One byte at a time, until the reader leaves or ``until`` is set."""


class Troubles:
    """Those that are still to come."""

    def __init__(self) -> None:
        self._waiting: list[Trouble] = []
        self._lock = threading.Lock()

    def add(self, trouble: Trouble) -> None:
        """Have it happen."""
        with self._lock:
            self._waiting.append(trouble)

    def take(self, request: str) -> Trouble:
        """Return what happens to this request."""
        with self._lock:
            for trouble in self._waiting:
                if re.search(trouble.match, request):
                    trouble.times -= 1
                    if trouble.times == 0:
                        self._waiting.remove(trouble)
                    return trouble
        return Trouble(match="")

    def release(self) -> None:
        """Let everything go that is kept waiting."""
        with self._lock:
            for trouble in self._waiting:
                if trouble.until is not None:
                    trouble.until.set()
            self._waiting.clear()
