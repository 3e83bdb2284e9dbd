"""Work that is waited for as long as it makes progress."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.errors import LaunchError

_Result = TypeVar("_Result")


class Say(Protocol):
    """Is told what is being done, and how far that came where somebody counts."""

    def __call__(
        self, state: State, message: str, done_bytes: int | None = None, total_bytes: int | None = None, /
    ) -> None:
        """Take note."""
        ...


async def unless_stalled(
    work: Callable[[Say], Awaitable[_Result]], say: Say, seconds: float, *, before: str
) -> _Result:
    """Return what ``work`` gives; raise ``LaunchError`` once it says nothing new for so long.

    ``before`` is what it waits for until it says something.
    """
    loop = asyncio.get_running_loop()
    limit = asyncio.timeout(seconds)
    last: tuple[object, ...] = (State.STARTING, before)

    def heard(state: State, message: str, done_bytes: int | None = None, total_bytes: int | None = None, /) -> None:
        nonlocal last
        said = (state, message, done_bytes, total_bytes)
        if said != last:
            last = said
            limit.reschedule(loop.time() + seconds)
        say(*said)

    try:
        async with limit:
            return await work(heard)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise LaunchError(
            "PREPARATION_STALLED",
            f"the launch came no further for {seconds:g} s ({last[1]}); see to the network, the index or registry, and "
            "the plugins (`motorpool plugins`)",
        ) from error
