"""Waits for the seat of a database where another controller leads."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from motorpool_controller.config import PostgresUrl
from motorpool_controller.domain.controllers import Controller, Standing
from motorpool_controller.store.beside import Beside
from motorpool_controller.store.controllers import register, standings
from motorpool_controller.store.database import engine_of, told
from motorpool_controller.store.errors import StoreError
from motorpool_controller.store.seat import LISTEN_SECONDS, Seat, Session
from motorpool_controller.store.tenure import LEASE_SECONDS
from motorpool_controller.store.tokens import TokenTable

R = TypeVar("R")
P = ParamSpec("P")

ASK_SECONDS = 1.0
"""How often it is looked who leads, where the seat is not to be taken."""
LOOK_SECONDS = 5.0
"""How often it is looked who leads, where nothing says that somebody else does."""
GIVE_WAY_SECONDS = 3.0
"""For how long it is left to the controller that led, where the whole database was away."""

log = logging.getLogger(__name__)


class Standby:
    """One who waits. It reads tokens, so that callers are known to it, and who leads; it writes its own row once."""

    def __init__(self, where: PostgresUrl, me: Controller, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._seat = Seat(engine_of(where), me.name)
        self._me = me
        self._lease_seconds = lease_seconds
        self.tokens = TokenTable(self._seat.engine)
        self._beside = Beside()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-standby")
        self._standings: tuple[Standing, ...] = ()
        self._registered = False
        self._session: Session | None = None
        self._looked = 0.0
        self._seated = False

    @property
    def leader(self) -> Controller | None:
        """Who leads, as far as it is known."""
        return next((each.controller for each in self._standings if each.leads and each.present), None)

    async def ask(self, *, take: bool = True, wait_seconds: float = 0.0) -> bool:
        """Ask for the seat once; return whether it is ours now. Raises a StoreError where the database is away.

        It is waited for so long. Without ``take`` it is only looked who has it.
        """
        ask = partial(self._ask, wait_seconds) if take else self._watch
        self._seated = self._seated or await self._in_thread(ask)
        return self._seated

    @property
    def last_leader(self) -> Controller | None:
        """Who led last, whether it is there or not."""
        return next((each.controller for each in self._standings if each.leads), None)

    async def wait(self, unfit: Callable[[], str]) -> Seat:
        """Return the seat once it is ours, whatever becomes of the database meanwhile."""
        away = False
        while True:
            take, began = not unfit(), time.monotonic()
            # Between two times that one listens nothing passes, unless it was told that there was nothing to hear.
            pause_seconds = LISTEN_SECONDS if take else ASK_SECONDS
            try:
                if await self.ask(take=take, wait_seconds=LISTEN_SECONDS):
                    # A rotation of the authority may have gone on until the leader's end.
                    if not unfit():
                        return self._seat
                    await self._in_thread(self._leave)
            except StoreError as error:
                if not away:
                    log.error("database lost", extra={"error": str(error)})  # noqa: TRY400  # it says it all
                away, began, pause_seconds = True, time.monotonic(), GIVE_WAY_SECONDS
            else:
                if away:
                    log.info("database found again")
                away = False
            await asyncio.sleep(max(0.0, began + pause_seconds - time.monotonic()))

    async def beside(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Run what blocks on the database in one of a few threads."""
        return await self._beside.run(partial(function, *arguments, **named))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The thread first: what it does may yet bring the seat.
        await asyncio.to_thread(self._thread.shutdown)
        if not self._seated or error is not None:
            await asyncio.to_thread(self._seat.leave)
            await asyncio.to_thread(self._seat.engine.dispose)
        await asyncio.to_thread(self._beside.close)

    async def _in_thread(self, function: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _ask(self, wait_seconds: float) -> bool:
        holder = self._seat.ask(wait_seconds)
        if holder is None:
            try:
                self._look()
            except StoreError:
                self._seat.leave()
                raise
            return True
        if holder.session != self._session or self.leader is None or time.monotonic() > self._looked + LOOK_SECONDS:
            self._look()
            self._session = holder.session
        if holder.silent_seconds is not None and holder.silent_seconds > self._lease_seconds:
            ended = self._seat.end_silent(holder, self._lease_seconds)
            if ended:
                log.warning(
                    "silent leader's connection ended",
                    extra={"leader": str(holder), "silent_seconds": round(holder.silent_seconds, 1)},
                )
        return False

    def _watch(self) -> bool:
        self._look()
        return False

    def _leave(self) -> None:
        self._seat.leave()
        self._seated = False

    def _look(self) -> None:
        """Read who leads, and have the others know of us."""
        connection = self._seat.present()
        with told(self._seat.engine), connection.begin():
            if not self._registered:
                register(connection, self._me)
            self._registered = True
            self._standings = standings(connection)
        self._looked = time.monotonic()
