"""Sends the logs that somebody reads, each on a stream of its own that the agent dials."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from motorpool import v1
from motorpool_agent.convert.observed import lines as fitting
from motorpool_agent.identity.dial import failure_of
from motorpool_agent.identity.ending import CallEnding
from motorpool_agent.reconcile.assignment import LogSubscription
from motorpool_agent.runtime.errors import RuntimeFault
from motorpool_agent.runtime.logreading import Batch
from motorpool_agent.session.seams import Instances

MAX_SUBSCRIPTIONS = 32
_CLOSE_SECONDS = 5.0

if TYPE_CHECKING:  # The stub is generic in its type hints only.
    AsyncStub = v1.AgentServiceStub[
        grpc.aio.StreamStreamMultiCallable[v1.SessionRequest, v1.SessionResponse],
        grpc.aio.UnaryUnaryMultiCallable[v1.RenewRequest, v1.RenewResponse],
        grpc.aio.StreamUnaryMultiCallable[v1.SendLogsRequest, v1.SendLogsResponse],
    ]

log = logging.getLogger(__name__)


class LogSender:
    """Pumps the lines of each subscription until it ends, is withdrawn or nobody reads it.

    A subscription that ended is not served again. One whose connection broke is neither: its reader has seen the end.
    """

    def __init__(self, *, instances: Instances, stub: Callable[[], AsyncStub | None]) -> None:
        self._instances = instances
        self._stub = stub
        self._pumps: dict[str, asyncio.Task[None]] = {}

    def update(self, subscriptions: Mapping[str, LogSubscription]) -> None:
        """Take over the subscriptions that there are now."""
        for subscription_id in [each for each in self._pumps if each not in subscriptions]:
            self._pumps.pop(subscription_id).cancel()
        for subscription_id, subscription in subscriptions.items():
            if subscription_id not in self._pumps:
                task = asyncio.get_running_loop().create_task(self._serve(subscription))
                self._pumps[subscription_id] = task

    async def close(self) -> None:
        """Stop sending."""
        tasks = list(self._pumps.values())
        self._pumps.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, subscription: LogSubscription) -> None:
        stub = self._stub()
        if stub is None:
            return
        call = stub.SendLogs()
        said = CallEnding(call)
        try:
            # The subscription's own time ends it in order; this is for a controller that stopped reading.
            async with asyncio.timeout(subscription.timeout_seconds + _CLOSE_SECONDS):
                await self._send(call, subscription)
        except TimeoutError:
            log.warning("log stream stuck", extra={"assignment": subscription.assignment_id})
        except grpc.aio.AioRpcError as error:
            failure = failure_of(await said.of(error))
            if failure.code is not grpc.StatusCode.NOT_FOUND:
                log.warning(
                    "log not sent",
                    extra={"assignment": subscription.assignment_id, "error": failure.message},
                )
        except asyncio.InvalidStateError:
            log.debug("log stream closed by the controller", extra={"assignment": subscription.assignment_id})
        finally:
            call.cancel()

    async def _send(
        self, call: grpc.aio.StreamUnaryCall[v1.SendLogsRequest, v1.SendLogsResponse], subscription: LogSubscription
    ) -> None:
        last = v1.SendLogsRequest(subscription_id=subscription.subscription_id, end=True)
        try:
            busy = sum(not task.done() for task in self._pumps.values()) > MAX_SUBSCRIPTIONS
            if busy:
                last.error_message = f"this node sends {MAX_SUBSCRIPTIONS} logs already; close one and try again"
            else:
                async with asyncio.timeout(subscription.timeout_seconds):
                    await self._send_lines(call, subscription)
        except TimeoutError:
            log.info("log subscription over", extra={"assignment": subscription.assignment_id})
        except RuntimeFault as error:
            last.error_reason, last.error_message = error.reason, error.message
        except OSError as error:
            last.error_message = f"the log cannot be read: {error.strerror or error}"
        await call.write(last)
        await call.done_writing()
        async with asyncio.timeout(_CLOSE_SECONDS):
            await call

    async def _send_lines(
        self, call: grpc.aio.StreamUnaryCall[v1.SendLogsRequest, v1.SendLogsResponse], subscription: LogSubscription
    ) -> None:
        # A log that is silent has no lines to say that its stream is there.
        await call.write(v1.SendLogsRequest(subscription_id=subscription.subscription_id))
        source: AsyncIterator[Batch] = self._instances.lines(subscription)
        async for found in source:
            # One message each, as a batch is of bounded size: whoever goes on from its position has all of it.
            await call.write(
                v1.SendLogsRequest(
                    subscription_id=subscription.subscription_id, lines=fitting(found.lines), position=found.position
                )
            )
