"""Looks up what deployments' models on hubs say of themselves: beside the deciding, never within it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.domain.errors import DomainError, UnavailableError
from motorpool_controller.domain.hub_files import HubModel
from motorpool_controller.domain.workload import ModelSource
from motorpool_controller.scheduling.snapshot import Reading
from motorpool_controller.store.live import Live

ASK_AGAIN_AFTER = timedelta(seconds=60)


class Models:
    """Look-ups on their way and what came of them, by source; the answers are in ``live.models``."""

    def __init__(self, catalog: Catalog, live: Live, *, clock: Callable[[], datetime]) -> None:
        self._catalog = catalog
        self._live = live
        self._clock = clock
        self._tasks: dict[ModelSource, asyncio.Task[None]] = {}
        self._due: dict[ModelSource, datetime] = {}

    def need(self, needed: Collection[ModelSource], now: datetime) -> datetime | None:
        """Look up what is needed and due; forget what is no longer needed; return when to call this again."""
        for source in [source for source in self._due if source not in needed]:
            del self._due[source]
            self._live.forget_model(source)
        for source in needed:
            if source not in self._tasks and self._due.setdefault(source, now) <= now:
                task = asyncio.get_running_loop().create_task(self._look_up(source), name="look up for a deployment")
                self._tasks[source] = task
        return min((self._due[source] for source in needed if source not in self._tasks), default=None)

    async def close(self) -> None:
        """Give up what is on its way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_up(self, source: ModelSource) -> None:
        wait = ASK_AGAIN_AFTER
        try:
            known = await self._catalog.look_up(source).result()
            reading = Reading(
                facts=known.facts, found=HubModel(commit=known.commit, files=known.files, facts=known.facts)
            )
        except DomainError as error:
            reading = Reading(error_reason=error.reason, error_message=error.message)
            if isinstance(error, UnavailableError) and error.retry_seconds is not None:
                wait = max(wait, timedelta(seconds=error.retry_seconds))
        except Exception as error:  # noqa: BLE001  # readers of strangers' bytes: it costs this answer, and no other
            reading = Reading(
                error_reason="MODEL_UNREADABLE",
                error_message=f"{source.repository} cannot be read: {type(error).__name__}: {error}",
            )
        finally:
            del self._tasks[source]
        if source in self._due:  # somebody still needs it
            self._due[source] = self._clock() + wait
            self._live.learn_model(source, reading)
