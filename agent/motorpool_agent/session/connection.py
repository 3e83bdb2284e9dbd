"""One connection to the controller: one reader, one writer, one pulse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from motorpool import v1
from motorpool_agent import metrics
from motorpool_agent.identity.dial import failure_of, usable_endpoints
from motorpool_agent.identity.ending import CallEnding
from motorpool_agent.identity.store import Identity
from motorpool_agent.session.desired import Proposal
from motorpool_agent.session.protocol import (
    HandOver,
    Paced,
    ProtocolError,
    Relocated,
    RenewalDue,
    SessionProtocol,
    Welcomed,
)
from motorpool_agent.session.seams import Dial

if TYPE_CHECKING:
    from motorpool_agent.session.logs import AsyncStub

WELCOME_SECONDS = 20.0

_Call = grpc.aio.StreamStreamCall[v1.SessionRequest, v1.SessionResponse]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a session ended: ``reason`` is the controller's, empty when it gave none."""

    message: str
    reason: str = ""
    retry_after_seconds: float | None = None
    leader: tuple[str, ...] = ()
    """Where another controller leads, of one that stands by and knows."""
    unreachable: bool = False
    untrusted: bool = False
    turned_away: bool = False
    """Whether more calls waited there than gRPC lets wait: it ends one without a word of the controller."""
    welcomed: bool = False


class Connection:
    """Moves messages between the stream and the protocol until either ends."""

    def __init__(
        self,
        identity: Identity,
        endpoint: str,
        *,
        protocol: SessionProtocol,
        accept: Callable[[Proposal], Awaitable[None]],
        usage: Callable[[], Awaitable[v1.NodeUsage]],
        hasten: Callable[[float], None],
        relocate: Callable[[tuple[str, ...]], Awaitable[None]],
        spread: Callable[[float], None],
        dial: Dial,
        use_proxy: bool,
    ) -> None:
        self._endpoint = endpoint
        self._protocol = protocol
        self._accept = accept
        self._usage = usage
        self._hasten = hasten
        self._relocate = relocate
        self._spread = spread
        self._changed = asyncio.Event()
        self._leave = asyncio.Event()
        self._period_seconds = 0.0
        self._paced = asyncio.Event()
        self.welcomed = asyncio.Event()
        self.due = asyncio.Event()
        """Set when the next session is to be opened beside this one."""
        self._pulses: list[asyncio.Task[None]] = []
        self._channel = dial(identity, endpoint, use_proxy=use_proxy)
        self.stub: AsyncStub = v1.AgentServiceStub(self._channel)

    def leave(self) -> None:
        """End this session: another one stands in its place."""
        self._leave.set()

    def changed(self) -> None:
        """There may be something new to show."""
        self._changed.set()

    async def hold(self) -> Ending:
        """Converse until the session ends; return how it did."""
        call = self.stub.Session()
        said = CallEnding(call)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(call, said, tasks))
            writing = tasks.create_task(self._write(call))
            leaving = tasks.create_task(self._leave.wait())
            await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
            ending = reading.result() if reading.done() else None
            for task in (reading, writing, leaving, *self._pulses):
                task.cancel()
        call.cancel()
        return ending or Ending(message="another session stands in its place", welcomed=self.welcomed.is_set())

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def _read(self, call: _Call, said: CallEnding, tasks: asyncio.TaskGroup) -> Ending:
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                message = await call.read()
            while isinstance(message, v1.SessionResponse):
                todo = self._protocol.received(message)
                if isinstance(todo, Welcomed):
                    self._open(todo, tasks)
                    await self._relocate(usable_endpoints(todo.agent_endpoints))
                elif isinstance(todo, Relocated):
                    await self._relocate(usable_endpoints(todo.agent_endpoints))
                elif isinstance(todo, Proposal):
                    await self._accept(todo)
                elif isinstance(todo, Paced):
                    self._pace(todo.heartbeat_seconds)
                    self._spread(todo.return_seconds)
                elif isinstance(todo, RenewalDue):
                    self._hasten(todo.within_seconds)
                elif isinstance(todo, HandOver):
                    self.due.set()
                self._changed.set()
                message = await call.read()
        except TimeoutError:
            return Ending(message=f"{self._endpoint} gave no welcome in {WELCOME_SECONDS:.0f} s", unreachable=True)
        except ProtocolError as error:
            return Ending(message=str(error), welcomed=self.welcomed.is_set())
        except grpc.aio.AioRpcError as error:
            failure = failure_of(await said.of(error))
            return Ending(
                message=f"{self._endpoint}: {failure.message}",
                reason=failure.reason,
                retry_after_seconds=failure.retry_after_seconds,
                leader=failure.leader_agents,
                unreachable=failure.code is grpc.StatusCode.UNAVAILABLE and not failure.reason,
                untrusted=failure.untrusted,
                turned_away=failure.turned_away and not self.welcomed.is_set(),
                welcomed=self.welcomed.is_set(),
            )
        return Ending(message=f"{self._endpoint} closed the session", welcomed=self.welcomed.is_set())

    def _open(self, welcomed: Welcomed, tasks: asyncio.TaskGroup) -> None:
        self.welcomed.set()
        metrics.SESSIONS_OPENED.add()
        self._pace(welcomed.heartbeat_seconds)
        self._spread(welcomed.return_seconds)
        self._pulses.append(tasks.create_task(self._beat()))
        log.info(
            "session opened",
            extra={
                "endpoint": self._endpoint,
                "epoch": welcomed.session_epoch,
                "heartbeat_seconds": welcomed.heartbeat_seconds,
                "controller_version": welcomed.controller_version,
            },
        )

    async def _write(self, call: _Call) -> None:
        """Send whatever the protocol has, whenever something may have changed. The only writer there is."""
        try:
            while True:
                while (message := self._protocol.take()) is not None:
                    await call.write(message)
                await self._changed.wait()
                self._changed.clear()
                self._protocol.observed_changed()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The stream has ended; the reader learns how.
            return

    def _pace(self, period_seconds: float) -> None:
        self._period_seconds = period_seconds
        self._paced.set()

    async def _beat(self) -> None:
        clock = asyncio.get_running_loop().time
        # Of a period, until the second one: agents that were let in together would be heard together for good.
        share = random.random()  # noqa: S311  # no secret
        while True:
            self._protocol.heartbeat(await self._usage())
            self._changed.set()
            began = clock()
            with contextlib.suppress(TimeoutError):
                while True:
                    self._paced.clear()
                    async with asyncio.timeout_at(began + share * self._period_seconds):
                        await self._paced.wait()
            share = 1.0
