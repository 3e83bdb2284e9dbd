"""Tells systemd how a service is, and its watchdog that it lives, for as long as it does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping

_MICROSECONDS = 1_000_000

log = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send a state (``READY=1``) to the socket that NOTIFY_SOCKET names; do nothing without one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # A wrong variable must not end a service: systemd notices by itself that nobody spoke.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        channel.sendall(state.encode())


def period_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """Return how often systemd wants to hear of process ``pid``, half its limit; None where it does not want to."""
    limit = environment.get("WATCHDOG_USEC", "")
    whose = environment.get("WATCHDOG_PID", "")
    if not limit.isdecimal() or not int(limit) or whose not in {"", str(pid)}:
        return None
    return int(limit) / _MICROSECONDS / 2


async def watch(
    stalled: Callable[[], str],
    *,
    tell: Callable[[str], None] = notify,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Tell systemd again and again, out of the event loop itself, so that one which hangs says nothing.

    ``stalled`` returns what does not go on although the loop does; systemd hears nothing then, either, and starts the
    service anew when its limit is over. Empty means that all is well.
    """
    period = period_seconds(os.environ, os.getpid())
    if period is None:
        return
    while True:
        if what := stalled():
            log.error("not alive: systemd is to start this service anew", extra={"stalled": what})
        else:
            tell("WATCHDOG=1")
        await sleep(period)
