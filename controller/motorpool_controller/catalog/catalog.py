"""Facts of models on hubs: each look-up in a thread of its own, few at once, and what was learnt is kept."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from motorpool_controller.catalog.budget import Budget, Spent, paying
from motorpool_controller.catalog.cache import Entry, FactsCache, Key
from motorpool_controller.catalog.hub import Hub
from motorpool_controller.catalog.needed import needed
from motorpool_controller.catalog.threads import spread
from motorpool_controller.domain.errors import DomainError, NotFoundError, PreconditionError, UnavailableError
from motorpool_controller.domain.hub_files import HubFile
from motorpool_controller.domain.names import shown
from motorpool_controller.domain.workload import ModelSource, SourceKind
from motorpool_formats import FormatError, ModelFacts, ModelNotFoundError, read_folder

GRACE_SECONDS = 5.0
"""How long a look-up may go on after its time: it looks at the clock with every piece that arrives."""

MOST_WAITING = 64
"""Look-ups that wait for their turn; more are refused."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a model on a hub. ``fetched_bytes`` is 0 where it was known before."""

    source: ModelSource
    facts: ModelFacts
    commit: str
    files: tuple[HubFile, ...]
    endpoint: str
    spent: Spent


class LookUp:
    """A look-up on its way. Several callers may wait for it; that one of them leaves does not end it."""

    def __init__(self, budget: Budget, task: asyncio.Task[Known]) -> None:
        self._budget = budget
        self._task = task

    @property
    def done(self) -> bool:
        """Whether ``result`` gives something at once."""
        return self._task.done()

    @property
    def spent(self) -> Spent:
        """What it has cost so far."""
        return self._budget.spent

    async def result(self) -> Known:
        """Return what was learnt, or raise why nothing was."""
        return await asyncio.shield(self._task)

    async def wait(self, seconds: float) -> None:
        """Return when it is done, and at the latest after so many seconds."""
        await asyncio.wait({self._task}, timeout=seconds)


class Catalog:
    """Knows models that lie on hubs. ``hubs`` gives each when it is first asked for: most fleets want none."""

    def __init__(
        self,
        hubs: Mapping[SourceKind, Callable[[], Hub]],
        cache: FactsCache,
        *,
        seconds: float = 120.0,
        at_once: int = 4,
    ) -> None:
        self._makers = hubs
        self._hubs: dict[SourceKind, Hub] = {}
        self._making = threading.Lock()
        self._cache = cache
        self._seconds = seconds
        self._free = asyncio.Semaphore(at_once)
        self._going: dict[ModelSource, LookUp] = {}
        self._tasks: set[asyncio.Task[Known]] = set()

    def look_up(self, source: ModelSource) -> LookUp:
        """Begin to look a model up, or join whoever is doing so; raise BUSY when too many wait already."""
        going = self._going.get(source)
        if going is not None and not going.done:
            return going
        if len(self._tasks) >= MOST_WAITING:
            raise UnavailableError(
                "BUSY", f"{len(self._tasks)} models are being looked up already; try again later", retry_seconds=5.0
            )
        # The time of waiting for a turn is not the hub's fault, and counts all the same: a caller waits no longer.
        budget = Budget(self._seconds)
        task = asyncio.get_running_loop().create_task(self._look_up(source, budget), name="look up a model")
        self._tasks.add(task)
        task.add_done_callback(self._landed)
        going = LookUp(budget, task)
        self._going[source] = going
        return going

    async def close(self) -> None:
        """Give up what is on its way. A thread that hangs ends with the process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for hub in self._hubs.values():
            hub.close()

    def read(self, source: ModelSource, budget: Budget) -> Known:
        """Look a model up in this very thread."""
        hub = self._hub(source.kind)
        with paying(budget):
            try:
                return self._read(hub, source, budget)
            except DomainError:
                raise
            except FormatError as error:
                kind = NotFoundError if isinstance(error, ModelNotFoundError) else PreconditionError
                raise kind(error.reason, f"{source.repository} on {hub.endpoint}: {error}") from error
            except OSError as error:
                raise PreconditionError(
                    "MODEL_UNREADABLE", f"{source.repository} on {hub.endpoint} cannot be read: {error}"
                ) from error

    def _read(self, hub: Hub, source: ModelSource, budget: Budget) -> Known:
        key = Key(
            hub=source.kind.value, endpoint=hub.endpoint, repository=source.repository, file=source.file, commit=""
        )
        named = replace(key, file="", revision=source.revision)
        commit = source.revision if hub.pinned(source.revision) else ""
        if not commit and hub.offline:
            before = self._cache.get(named)
            commit = "" if before is None else before.commit
        kept = self._cache.get(replace(key, commit=commit)) if commit else None
        if kept is None or kept.facts is None:
            found = hub.find(source.repository, source.revision, budget)
            commit = found.commit
            self._cache.put(named, Entry(commit=commit))
            kept = self._cache.get(replace(key, commit=commit))
            if kept is None or kept.facts is None:
                facts = read_folder(found.folder, source.file, spread=spread)
                kept = Entry(facts=facts, files=needed(found.files, facts))
                self._cache.put(replace(key, commit=commit), kept)
        if kept.facts is None:
            raise AssertionError("facts were read")
        return Known(
            source=source,
            facts=kept.facts,
            commit=commit,
            files=kept.files,
            endpoint=hub.endpoint,
            spent=budget.spent,
        )

    def _hub(self, kind: SourceKind) -> Hub:
        with self._making:
            if kind not in self._hubs:
                self._hubs[kind] = self._makers[kind]()
            return self._hubs[kind]

    async def _look_up(self, source: ModelSource, budget: Budget) -> Known:
        try:
            async with asyncio.timeout(self._seconds + GRACE_SECONDS):
                await self._free.acquire()
                known = await self._in_thread(lambda: self.read(source, budget))
        except TimeoutError as error:
            raise budget.over() from error
        except DomainError as error:
            log.info("model not known", extra={"model": _words(source), "reason": error.reason})
            raise
        log.info(
            "model known",
            extra={
                "model": _words(source),
                "commit": known.commit,
                "requests": known.spent.requests,
                "fetched_bytes": known.spent.fetched_bytes,
            },
        )
        return known

    async def _in_thread(self, work: Callable[[], Known]) -> Known:
        """Return what ``work`` gives. In a daemon: a hub that hangs holds up its turn, and neither loop nor exit."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Known] = loop.create_future()

        def finish(known: Known | None, error: Exception | None) -> None:
            self._free.release()
            if done.cancelled():
                return
            if known is not None:
                done.set_result(known)
            else:
                done.set_exception(error or RuntimeError("nothing was learnt"))

        def run() -> None:
            known: Known | None = None
            failure: Exception | None = None
            try:
                known = work()
            except Exception as error:  # noqa: BLE001  # raised again where it is awaited
                failure = error
            with contextlib.suppress(RuntimeError):  # the controller ended meanwhile
                loop.call_soon_threadsafe(finish, known, failure)

        threading.Thread(target=contextvars.copy_context().run, args=(run,), name="look-up", daemon=True).start()
        return await done

    def _landed(self, task: asyncio.Task[Known]) -> None:
        self._tasks.discard(task)
        for source in [source for source, going in self._going.items() if going.done]:
            del self._going[source]
        if not task.cancelled():
            task.exception()  # whoever waited heard of it, and nobody may have


def _words(source: ModelSource) -> str:
    return f"{source.kind.value} {shown(source.repository)} {source.file} {source.revision}".strip()
