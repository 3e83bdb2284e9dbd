"""The store: one view in memory, one writer of the database behind it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar
from weakref import WeakSet

from sqlalchemy import Engine

from motorpool_controller.domain.errors import InvalidError, OutOfRangeError
from motorpool_controller.store.database import open_database
from motorpool_controller.store.errors import FencedError, StoreError
from motorpool_controller.store.loading import take_over
from motorpool_controller.store.pending import Pending
from motorpool_controller.store.subscription import Subscription
from motorpool_controller.store.tokens import TokenTable
from motorpool_controller.store.transaction import Transaction
from motorpool_controller.store.view import View
from motorpool_controller.store.writer import Writer

T = TypeVar("T")


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


@dataclass(slots=True)
class _Commit(Generic[T]):
    """A change that waits for its turn."""

    change: Callable[[Transaction], T]
    alone: bool
    done: asyncio.Future[T]
    result: T | None = None

    def evaluate(self, view: View, pending: Pending, now: datetime) -> bool:
        """Run the change; return whether it went well. What it raises is its caller's; nothing stays."""
        if self.done.done():
            return False
        transaction = Transaction(view, pending, now, alone=self.alone)
        try:
            self.result = self.change(transaction)
        except Exception as error:  # noqa: BLE001  # handed to the caller, who waits for it
            self.done.set_exception(error)
            return False
        transaction.finish()
        return True

    def resolve(self) -> None:
        """Answer the caller: it is on disk."""
        if not self.done.done():
            self.done.set_result(self.result)  # type: ignore[arg-type]  # set by evaluate

    def reject(self, error: Exception) -> None:
        """Answer the caller: nothing of it was written."""
        if not self.done.done():
            self.done.set_exception(error)


class Store:
    """Commits changes, one after another; keeps the view; tells subscribers."""

    def __init__(self, engine: Engine, view: View, clock: Callable[[], datetime]) -> None:
        self.view = view
        self.tokens = TokenTable(engine)
        self._engine = engine
        self._clock = clock
        self._writer = Writer(engine, view.controller_epoch)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")
        self._queue: deque[_Commit[object]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._fenced = asyncio.Event()
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._task = asyncio.create_task(self._run(), name="store")

    @classmethod
    async def open(cls, path: Path, *, clock: Callable[[], datetime] = utc_now) -> Self:
        """Return the store on a database that `init` made; fences controllers that had it open before."""
        engine = await asyncio.to_thread(open_database, path)
        try:
            view = await asyncio.to_thread(take_over, engine, clock())
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, view, clock)

    async def close(self) -> None:
        """Write what was handed in, then end. Subscribers' iterations end too."""
        self._closing = True
        self._wake.set()
        await self._task
        for subscription in list(self._subscriptions):
            subscription.close()
        self._thread.shutdown()
        await asyncio.to_thread(self._engine.dispose)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def commit(self, change: Callable[[Transaction], T], *, alone: bool = False) -> T:
        """Run a change and return what it returned, once it is on disk and in the view.

        ``change`` is a plain function; it runs on the event loop, sees every change before it, and cannot
        await. What it raises is raised here, and nothing of it is written. ``alone`` gives it a transaction of
        its own.
        """
        if self._closing:
            raise StoreError("the controller is stopping; nothing more is written")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        waiting = _Commit(change, alone, done)
        self._queue.append(waiting)  # type: ignore[arg-type]  # the queue does not look into results
        self._wake.set()
        return await done

    def subscribe(self, since: int | None = None) -> Subscription:
        """Return changes from now on, or all after a revision that is still kept."""
        if since is None:
            subscription = Subscription(self.view.revision)
        elif since > self.view.revision or since < 0:
            raise InvalidError(
                "PAGE_TOKEN_INVALID",
                f"revision {since} was never written here; take resume tokens from this cluster's answers",
            )
        elif since < self.view.changes_since:
            raise OutOfRangeError(
                "RESUME_TOKEN_EXPIRED",
                f"changes up to revision {self.view.changes_since} are no longer kept, and {since} was asked "
                "for; list again, then watch from there",
            )
        else:
            subscription = Subscription(since)
            subscription.publish(self.view.changes_after(since), self.view.revision)
        self._subscriptions.add(subscription)
        return subscription

    async def wait_fenced(self) -> None:
        """Return when another controller has taken the database over: nothing can be committed any more."""
        await self._fenced.wait()

    async def _run(self) -> None:
        while True:
            while self._queue:
                await self._commit_batch()
            if self._closing:
                return
            self._wake.clear()
            await self._wake.wait()

    async def _commit_batch(self) -> None:
        """Evaluate what waits, write it in one transaction, then show it and answer."""
        pending = Pending(self.view.revision)
        batch: list[_Commit[object]] = []
        while self._queue and not (batch and (self._queue[0].alone or batch[-1].alone)):
            waiting = self._queue.popleft()
            if waiting.evaluate(self.view, pending, self._clock()):
                batch.append(waiting)
        if pending.revision != self.view.revision:
            self.view.trim(pending)
            try:
                await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._writer.write, pending, self._existing(pending)
                )
            except Exception as error:  # noqa: BLE001  # handed to every caller of the batch
                if isinstance(error, FencedError):
                    self._fenced.set()
                for waiting in batch:
                    waiting.reject(error)
                return
            self.view.apply(pending)
            for subscription in list(self._subscriptions):
                subscription.publish(pending.changes, pending.revision)
        for waiting in batch:
            waiting.resolve()

    def _existing(self, pending: Pending) -> dict[str, frozenset[str]]:
        view = self.view
        return {
            "nodes": frozenset(view.nodes.keys() & pending.nodes.keys()),
            "deployments": frozenset(view.deployments.keys() & pending.deployments.keys()),
            "instances": frozenset(view.instances.keys() & pending.instances.keys()),
            "profiles": frozenset(view.profiles.keys() & pending.profiles.keys()),
            "peaks": frozenset(view.peaks.keys() & pending.peaks.keys()),
            "backends": frozenset(view.backends.keys() & pending.backends.keys()),
            "events": frozenset(view.events.keys() & pending.events.keys()),
            "requests": frozenset(view.answers.keys() & pending.answers.keys()),
        }
