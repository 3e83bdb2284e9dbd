"""Which executors work: looked at again and again, as a Docker Engine comes and goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from motorpool_agent.reconcile.observation import ExecutorStatus
from motorpool_agent.runtime.work import Work

log = logging.getLogger(__name__)


class Availability:
    """What was last seen of each executor; ``notify`` is called when that changes."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[Mapping[str, ExecutorStatus]]],
        period_seconds: float,
        notify: Callable[[], None],
    ) -> None:
        self._ask = ask
        self._period_seconds = period_seconds
        self._notify = notify
        self._work = Work("executors", _failed)
        self._looked = asyncio.Event()
        self.statuses: Mapping[str, ExecutorStatus] = MappingProxyType({})

    async def begin(self) -> None:
        """Look once, and go on looking."""
        await self._look()
        self._work.switch(self._go_on)

    async def close(self) -> None:
        """Look no more."""
        await self._work.close()

    async def known(self) -> Mapping[str, ExecutorStatus]:
        """Return what was last seen, once it was looked at."""
        await self._looked.wait()
        return self.statuses

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self._period_seconds)
            await self._look()

    async def _look(self) -> None:
        before, self.statuses = self.statuses, await self._ask()
        self._looked.set()
        for name, status in self.statuses.items():
            known = before.get(name)
            if known is not None and known.works != status.works:
                log.log(
                    logging.INFO if status.works else logging.WARNING,
                    "executor works again" if status.works else "executor stopped working",
                    extra={"executor": name, "detail": status.message},
                )
        if self.statuses != before:
            self._notify()


def _failed(error: Exception) -> None:
    log.error("executors are not looked at any more", exc_info=error)
