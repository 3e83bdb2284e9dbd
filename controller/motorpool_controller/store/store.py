"""The store: one view in memory, one writer of the database behind it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import ParamSpec, Self, TypeVar
from weakref import WeakSet

from motorpool_controller import metrics
from motorpool_controller.domain.controllers import Controller, Standing
from motorpool_controller.domain.errors import InvalidError, OutOfRangeError
from motorpool_controller.store.beside import Beside
from motorpool_controller.store.commit import Commit
from motorpool_controller.store.controllers import leader_of, others_of, tell_trust
from motorpool_controller.store.database import Where, engine_of
from motorpool_controller.store.errors import (
    DatabaseLostError,
    FencedError,
    OutcomeUnknownError,
    ResignedError,
    StoreBusyError,
    StoreError,
)
from motorpool_controller.store.loading import take_over
from motorpool_controller.store.pending import Pending
from motorpool_controller.store.seat import Seat
from motorpool_controller.store.subscription import Subscription
from motorpool_controller.store.tenure import LEASE_SECONDS, Lookers, Tenure, backing_off
from motorpool_controller.store.tokens import TokenTable
from motorpool_controller.store.transaction import Transaction
from motorpool_controller.store.view import View
from motorpool_controller.store.writer import Writer

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

CALLERS_WAITING = 500
"""Changes of callers that wait: a third of a second's work."""
STUCK_SECONDS = 5.0
"""A batch takes milliseconds: one that has been written for so long waits for a disk or a server that hangs."""
HURRY_SECONDS = 0.5
"""The longest where others stand by, who give way for a moment to the one that led."""

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class Store:
    """Commits changes, one after another; keeps the view; tells subscribers."""

    def __init__(
        self,
        seat: Seat,
        thread: ThreadPoolExecutor,
        view: View,
        clock: Callable[[], datetime],
        *,
        me: Controller | None = None,
        tenure: Tenure,
    ) -> None:
        self.view = view
        self.tenure = tenure
        """Until when this controller is certain to lead."""
        self._me = me
        self.tokens = TokenTable(seat.engine)
        self._engine = seat.engine
        self._clock = clock
        self._writer = Writer(seat, view.controller_epoch)
        self._thread = thread
        self._own: deque[Commit[object]] = deque()
        self._callers: deque[Commit[object]] = deque()
        self._callers_first = False
        self._beside = Beside()
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._fenced: asyncio.Future[FencedError] = asyncio.get_running_loop().create_future()
        self._lookers = Lookers()
        self._lost: StoreError | None = None
        """Why nothing can be committed at present."""
        self._write_began: float | None = None
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._task = asyncio.create_task(self._run(), name="store")

    @classmethod
    async def open(cls, where: Where, *, clock: Callable[[], datetime] = utc_now) -> Self:
        """Return the store on a database that `init` made; fences controllers that had it open before."""
        return await cls.on(Seat(engine_of(where)), clock=clock)

    @classmethod
    async def on(
        cls,
        seat: Seat,
        *,
        me: Controller | None = None,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], datetime] = utc_now,
    ) -> Self:
        """Return the store of the database where this is the seat; leads as ``me``, and closes the seat at its end."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")
        tenure = Tenure(lease_seconds if seat.remote else None)
        began = tenure.begin()
        try:
            view = await asyncio.get_running_loop().run_in_executor(thread, take_over, seat, clock(), me)
        except BaseException:
            await asyncio.get_running_loop().run_in_executor(thread, seat.leave)
            thread.shutdown()
            seat.engine.dispose()
            raise
        tenure.renew(began)
        return cls(seat, thread, view, clock, me=me, tenure=tenure)

    async def resign(self) -> None:
        """Write what was handed in, and let another controller lead; what is in the view is there until it closes."""
        self._closing.set()
        self._wake.set()
        await self._task
        self.tenure.end()
        await self._write(self._writer.close)

    async def close(self) -> None:
        """Resign, and end. Subscribers' iterations end too."""
        await self.resign()
        for subscription in list(self._subscriptions):
            subscription.close()
        self._thread.shutdown()
        await asyncio.to_thread(self._beside.close)
        await asyncio.to_thread(self._engine.dispose)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def commit(self, change: Callable[[Transaction], T], *, alone: bool = False, caller: bool = False) -> T:
        """Run a change and return what it returned, once it is on disk and in the view.

        ``change`` is a plain function; it runs on the event loop, sees every change before it, and cannot
        await. What it raises is raised here, and nothing of it is written. ``alone`` gives it a transaction of
        its own. Of changes that a ``caller`` of the API asks for so many may wait, beyond which a StoreBusyError is
        raised; what agents report and the loop decides waits beside them, and never behind more than a batch.
        """
        if self._closing.is_set():
            raise ResignedError
        if self._lost is not None:
            raise type(self._lost)(str(self._lost))
        if caller and len(self._callers) >= CALLERS_WAITING:
            metrics.BUSY.add("change")
            raise StoreBusyError(
                f"{CALLERS_WAITING} calls wait for the store already; nothing was changed, make the same call again"
            )
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        waiting = Commit(change, alone, done)
        (self._callers if caller else self._own).append(waiting)  # type: ignore[arg-type]  # it does not look into them
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
                "HISTORY_COMPACTED",
                f"changes up to revision {self.view.changes_since} are no longer kept, and {since} was asked "
                "for; list again, then watch from there",
            )
        else:
            subscription = Subscription(since)
            subscription.publish(self.view.changes_after(since), self.view.revision)
        self._subscriptions.add(subscription)
        return subscription

    async def wait_fenced(self) -> FencedError:
        """Return when another controller has taken the database over, and how: nothing can be committed any more."""
        return await asyncio.shield(self._fenced)

    @property
    def waiting(self) -> dict[str, int]:
        """How many changes wait, of callers and of agents and the loop."""
        return {"callers": len(self._callers), "own": len(self._own)}

    async def confirm(self) -> None:
        """Return once it is certain that this controller leads; raise a FencedError where another one does.

        Where the database is away nobody can take over, nor is anything certain: a controller that was alone goes on
        answering, one beside which others stood raises a DatabaseLostError.
        """
        while not self.tenure.certain:
            if self._fenced.done():
                raise self._fenced.result()
            if self._closing.is_set():
                raise ResignedError
            if self._lost is not None and self.tenure.tried:
                if self.others:
                    raise type(self._lost)(str(self._lost))
                return
            await self.look()

    async def look(self) -> None:
        """Look at the database anew: whether this controller leads, and who stands by; or find that it is away."""
        looked = self._lookers.joined()
        self._wake.set()
        await looked

    @property
    def standings(self) -> tuple[Standing, ...]:
        """The controllers of the database, where it may have several."""
        return self._writer.standings or self.view.standings

    @property
    def others(self) -> tuple[Standing, ...]:
        """Those that are there beside this one, as of the last look."""
        return () if self._me is None else others_of(self._me.name, self.standings)

    async def successor(self) -> Controller | None:
        """Return who leads since this controller resigned; None where nobody does yet."""
        found = await self.beside(leader_of, self._engine)
        return found if self._me is not None and found is not None and found.name != self._me.name else None

    async def tell_trust(self, authorities: Sequence[str]) -> None:
        """Have other controllers know which authorities hold from now on."""
        if self._me is not None and self._writer.remote:
            await self.beside(tell_trust, self._engine, self._me.name, authorities, self.view.controller_epoch)

    async def beside(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Run what blocks on the database in one of a few threads; raise a StoreBusyError where that takes too long."""
        return await self._beside.run(partial(function, *arguments, **named))

    def unwritable(self) -> str:
        """Return why nothing can be written, empty where it can; known at once, from any thread, asking nobody."""
        if self._lost is not None:
            return str(self._lost)
        seconds = 0.0 if (began := self._write_began) is None else time.monotonic() - began
        return f"the database has not answered a write for {seconds:.0f} s" if seconds > STUCK_SECONDS else ""

    def unreadable(self) -> str:
        """Return why the database answers no reads, empty where it does; as ``unwritable`` does."""
        lost = self._lost if isinstance(self._lost, DatabaseLostError) else None
        return self._beside.silent() if lost is None else str(lost)

    async def _run(self) -> None:
        while True:
            while (self._own or self._callers) and self._lost is None:
                await self._commit_batch()
            if self._closing.is_set():
                Lookers.told(self._lookers.taken())
                return
            if self._lookers.due:
                await self._look()
                continue
            self._wake.clear()
            try:
                async with asyncio.timeout(self.tenure.look_seconds if self._lost is None else None):
                    await self._wake.wait()
            except TimeoutError:
                # Nothing is to be written: whether it could be is known all the same, and who else writes.
                await self._look()

    async def _commit_batch(self) -> None:
        """Evaluate what waits, write it in one transaction, then show it and answer."""
        pending = Pending(self.view.revision)
        batch: list[Commit[object]] = []
        # In turns: what wants a transaction of its own ends a batch, and must not keep the other lane waiting.
        lanes = (self._callers, self._own) if self._callers_first else (self._own, self._callers)
        self._callers_first = not self._callers_first
        while (lane := lanes[0] or lanes[1]) and not (batch and (lane[0].alone or batch[-1].alone)):
            waiting = lane.popleft()
            if waiting.evaluate(self.view, pending, self._clock()):
                batch.append(waiting)
        if pending.revision != self.view.revision:
            self.view.trim(pending)
            began = self.tenure.begin()
            try:
                await self._write(self._writer.write, pending, self.view.existing(pending))
                metrics.BATCH_SECONDS.observe(self.tenure.begin() - began)
            except Exception as error:  # noqa: BLE001  # handed to every caller of the batch
                for waiting in batch:
                    waiting.reject(error)
                if isinstance(error, FencedError):
                    self._end(error)
                elif isinstance(error, DatabaseLostError):
                    await self._mend(error, pending if isinstance(error, OutcomeUnknownError) else None)
                return
            self.tenure.renew(began)
            self._show(pending)
        metrics.COMMITS.add(by=len(batch))
        for waiting in batch:
            waiting.resolve()

    def _show(self, pending: Pending) -> None:
        """Take into the view what is on disk, and tell of it."""
        self.view.apply(pending)
        for event in pending.events.values():
            if event is not None:
                metrics.EVENTS.add(event.severity)
        for subscription in list(self._subscriptions):
            subscription.publish(pending.changes, pending.revision)

    async def _look(self) -> None:
        try:
            self._found(await self._ask(), None)
        except FencedError as error:
            self._end(error)
        except StoreError as error:
            # Whatever it is: nothing is to be written while it is not known who leads.
            await self._mend(DatabaseLostError(str(error)), None)

    async def _ask(self) -> int:
        """Look at the database, and return the revision that it is at."""
        waiting, began = self._lookers.taken(), self.tenure.begin()
        try:
            revision = await self._write(self._writer.look)
        except FencedError as error:
            self._end(error)
            raise
        except StoreError as error:
            self.tenure.fail(began)
            self._lost = error
            raise
        else:
            self.tenure.renew(began)
            return revision
        finally:
            Lookers.told(waiting)

    async def _mend(self, error: DatabaseLostError, unknown: Pending | None) -> None:
        """Ask for the database until it is there again, and look what became of ``unknown`` before anything is written.

        Whoever wants to commit meanwhile is told at once: that waits longer than a call does.
        """
        log.error("database lost", extra={"error": str(error)})
        wait = backing_off()
        while not self._closing.is_set():
            self._refuse(DatabaseLostError(str(error)))
            try:
                self._found(await self._ask(), unknown)
            except FencedError as fenced:
                self._end(fenced)
                return
            except StoreError as again:
                error = again if isinstance(again, DatabaseLostError) else error
            else:
                self._lost = None
                log.info("database found again", extra={"revision": self.view.revision})
                return
            with contextlib.suppress(TimeoutError):
                seconds = min(next(wait), HURRY_SECONDS) if self.others else next(wait)
                await asyncio.wait_for(self._closing.wait(), seconds)

    def _found(self, revision: int, unknown: Pending | None) -> None:
        """Take in a batch that turns out to have been written; raise a FencedError where it is another database."""
        if unknown is not None and revision == unknown.revision:
            self._show(unknown)
        elif revision != self.view.revision:
            raise FencedError(
                f"the database is not the one that was lost: its revision is {revision}, and that of this controller "
                f"{self.view.revision}; it was put back, and has to be read anew: start the controller again"
            )

    def _refuse(self, error: StoreError) -> None:
        self._lost = error
        while lane := self._own or self._callers:
            lane.popleft().reject(error)

    def _end(self, error: FencedError) -> None:
        self._refuse(error)
        if not self._fenced.done():
            self._fenced.set_result(error)

    async def _write(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Run what blocks in the one thread that writes."""
        self._write_began = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, partial(function, *arguments, **named)
            )
        finally:
            self._write_began = None
