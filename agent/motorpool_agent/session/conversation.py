"""Sessions with one endpoint, each of which is opened before the one before it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from motorpool_agent.session.connection import Connection, Ending

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Held:
    """A connection, and the task that holds it to its end."""

    connection: Connection
    task: asyncio.Task[Ending]

    async def until(self, event: asyncio.Event) -> bool:
        """Wait for the event or the session's end; return whether it still lasts."""
        waiting = asyncio.create_task(event.wait())
        try:
            await asyncio.wait({self.task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        return not self.task.done()


class Conversation:
    """Holds a session, and hands it over to the next one where that is due: make before break.

    ``pause`` waits before another try of a next session that was not welcomed; the present one lasts meanwhile.
    """

    def __init__(self, connect: Callable[[], Connection], pause: Callable[[Ending], Awaitable[None]]) -> None:
        self._connect = connect
        self._pause = pause
        self._held: list[_Held] = []

    @property
    def connection(self) -> Connection | None:
        """The present session's connection; None between two conversations."""
        present = self._held[:1]  # in one step: other threads ask, too
        return present[0].connection if present else None

    def changed(self) -> None:
        """There may be something new to show."""
        for held in self._held:
            held.connection.changed()

    def hand_over(self) -> None:
        """Open the next session, as after a renewal of the certificate."""
        if self._held:
            self._held[0].connection.due.set()

    async def hold(self) -> Ending:
        """Converse until a session ends that no other one stands in for; return how it did."""
        async with asyncio.TaskGroup() as tasks:
            present = self._begin(tasks)
            while await present.until(present.connection.due):
                following = self._begin(tasks)
                await following.until(following.connection.welcomed)
                if following.connection.welcomed.is_set():
                    log.info("session handed over")
                    present.connection.leave()
                    await asyncio.wait({present.task})
                    present = following
                elif not present.task.done():
                    await self._unless_ended(present, self._pause(following.task.result()))
            return present.task.result()

    def _begin(self, tasks: asyncio.TaskGroup) -> _Held:
        connection = self._connect()
        held = _Held(connection, tasks.create_task(self._hold(connection)))
        self._held.append(held)
        held.task.add_done_callback(lambda _: self._held.remove(held))
        return held

    async def _hold(self, connection: Connection) -> Ending:
        try:
            return await connection.hold()
        finally:
            await connection.close()

    async def _unless_ended(self, present: _Held, pause: Awaitable[None]) -> None:
        waiting = asyncio.ensure_future(pause)
        await asyncio.wait({present.task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await asyncio.wait({waiting})
