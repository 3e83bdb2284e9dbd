"""One connection to the controller: one reader, one writer, one pulse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from motorpool import v1
from motorpool_agent.identity.dial import failure_of
from motorpool_agent.identity.store import Identity
from motorpool_agent.session.desired import Proposal
from motorpool_agent.session.protocol import ProtocolError, SessionProtocol, Welcomed
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
    unreachable: bool = False
    welcomed: bool = False
    replaced: bool = False


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
        changed: asyncio.Event,
        dial: Dial,
        use_proxy: bool,
    ) -> None:
        self._endpoint = endpoint
        self._protocol = protocol
        self._accept = accept
        self._usage = usage
        self._changed = changed
        self._replace = asyncio.Event()
        self._welcomed = False
        self._pulses: list[asyncio.Task[None]] = []
        self._channel = dial(identity, endpoint, use_proxy=use_proxy)
        self.stub: AsyncStub = v1.AgentServiceStub(self._channel)

    def replace(self) -> None:
        """End this session, so that another is opened at once."""
        self._replace.set()

    async def hold(self) -> Ending:
        """Converse until the session ends; return how it did."""
        call = self.stub.Session()
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(call, tasks))
            writing = tasks.create_task(self._write(call))
            replacing = tasks.create_task(self._replace.wait())
            await asyncio.wait({reading, replacing}, return_when=asyncio.FIRST_COMPLETED)
            ending = reading.result() if reading.done() else None
            for task in (reading, writing, replacing, *self._pulses):
                task.cancel()
        call.cancel()
        return ending or Ending(message="a new certificate", welcomed=self._welcomed, replaced=True)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def _read(self, call: _Call, tasks: asyncio.TaskGroup) -> Ending:
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                message = await call.read()
            while isinstance(message, v1.SessionResponse):
                todo = self._protocol.received(message)
                if isinstance(todo, Welcomed):
                    self._open(todo, tasks)
                elif isinstance(todo, Proposal):
                    await self._accept(todo)
                self._changed.set()
                message = await call.read()
        except TimeoutError:
            return Ending(message=f"{self._endpoint} gave no welcome in {WELCOME_SECONDS:.0f} s", unreachable=True)
        except ProtocolError as error:
            return Ending(message=str(error), welcomed=self._welcomed)
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error)
            return Ending(
                message=f"{self._endpoint}: {failure.message}",
                reason=failure.reason,
                retry_after_seconds=failure.retry_after_seconds,
                unreachable=failure.code is grpc.StatusCode.UNAVAILABLE and not failure.reason,
                welcomed=self._welcomed,
            )
        return Ending(message=f"{self._endpoint} closed the session", welcomed=self._welcomed)

    def _open(self, welcomed: Welcomed, tasks: asyncio.TaskGroup) -> None:
        self._welcomed = True
        self._pulses.append(tasks.create_task(self._beat(welcomed.heartbeat_seconds)))
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

    async def _beat(self, period_seconds: float) -> None:
        while True:
            self._protocol.heartbeat(await self._usage())
            self._changed.set()
            await asyncio.sleep(period_seconds)
