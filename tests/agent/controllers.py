"""A controller for the agent's tests: real listeners, real TLS, and answers that the test writes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from motorpool import v1
from tests.agent.authority import TestAuthority

HEARTBEAT_SECONDS = 0.05
PATIENCE_SECONDS = 20.0
T = TypeVar("T")


class RefusalError(Exception):
    """What a servicer of the test raises to end a call."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str = "no",
        retry_seconds: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.code, self.reason, self.message, self.retry_seconds = code, reason, message, retry_seconds
        self.metadata = metadata or {}

    async def abort(self, context: grpc.aio.ServicerContext) -> None:
        details = []
        for detail in (
            error_details_pb2.ErrorInfo(reason=self.reason, domain="motorpool", metadata=self.metadata)
            if self.reason
            else None,
            None
            if self.retry_seconds is None
            else error_details_pb2.RetryInfo(retry_delay=Duration(nanos=int(self.retry_seconds * 1e9))),
        ):
            if detail is not None:
                packed = any_pb2.Any()
                packed.Pack(detail)
                details.append(packed)
        status = status_pb2.Status(code=self.code.value[0], message=self.message, details=details)
        await context.abort_with_status(rpc_status.to_status(status))


@dataclass(eq=False)
class HeldSession:
    """One session as the test sees it from the controller's end."""

    hello: v1.Hello
    epoch: int
    received: list[v1.SessionRequest] = field(default_factory=list)
    outbox: asyncio.Queue[v1.SessionResponse | RefusalError | None] = field(default_factory=asyncio.Queue)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, *, epoch: int | None = None, **message: Any) -> None:
        self.outbox.put_nowait(v1.SessionResponse(session_epoch=epoch or self.epoch, **message))

    def end(self, refusal: RefusalError | None = None) -> None:
        self.outbox.put_nowait(refusal)

    async def until(self, found: Callable[[list[v1.SessionRequest]], T | None]) -> T:
        """Wait until `found` makes something of what the agent has sent."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (result := found(self.received)) is None:
                self.arrived.clear()
                await self.arrived.wait()
            return result

    async def ack(self, version: int, controller_epoch: int = 1) -> v1.DesiredAck:
        """Wait for the acknowledgement of a version."""
        wanted = v1.DesiredVersion(controller_epoch=controller_epoch, version=version)

        def found(messages: list[v1.SessionRequest]) -> v1.DesiredAck | None:
            return next(
                (
                    each.desired_ack
                    for each in messages
                    if each.HasField("desired_ack") and each.desired_ack.version == wanted
                ),
                None,
            )

        return await self.until(found)

    async def observed(self, count: int = 1) -> v1.ObservedState:
        """Wait for the count-th observed state of this session."""

        def found(messages: list[v1.SessionRequest]) -> v1.ObservedState | None:
            states = [each.observed for each in messages if each.HasField("observed")]
            return states[count - 1] if len(states) >= count else None

        return await self.until(found)

    async def heartbeat(self, count: int = 1) -> v1.Heartbeat:
        """Wait for the count-th heartbeat of this session."""

        def found(messages: list[v1.SessionRequest]) -> v1.Heartbeat | None:
            beats = [each.heartbeat for each in messages if each.HasField("heartbeat")]
            return beats[count - 1] if len(beats) >= count else None

        return await self.until(found)

    def desired(self, version: int, *objects: v1.DesiredObject, after: int = 0, removed: tuple[str, ...] = ()) -> None:
        """Send a desired state: everything, or a change of version `after`."""
        self.send(
            desired=v1.DesiredState(
                results_in=v1.DesiredVersion(controller_epoch=1, version=version),
                applies_to=v1.DesiredVersion(controller_epoch=1, version=after) if after else None,
                objects=objects,
                removed=removed,
            )
        )


class TestController(v1.AgentServiceServicer, v1.EnrollmentServiceServicer):
    """Welcomes every session unless `refuse` says otherwise; enrols and renews unless told not to."""

    __test__ = False

    def __init__(self) -> None:
        self.authority = TestAuthority()
        self.sessions: asyncio.Queue[HeldSession] = asyncio.Queue()
        self.return_seconds = 0
        self.refuse: Callable[[v1.Hello], RefusalError | None] = lambda hello: None
        self.refuse_enrolment: RefusalError | None = None
        self.refuse_renewal: RefusalError | None = None
        self.enrolments: list[tuple[v1.EnrollRequest, str]] = []
        self.renewals: list[v1.RenewRequest] = []
        self.hellos: list[v1.Hello] = []
        self.log_messages: list[v1.SendLogsRequest] = []
        self.log_ended = asyncio.Event()
        self.log_arrived = asyncio.Event()
        self.refuse_logs: RefusalError | None = None
        self.protocol = 1
        self.told_to_trust = ""
        """What Enroll and Renew say to trust; Enroll its authority where empty, and Renew nothing, as of before."""
        self.renew_time = datetime.now(UTC) + timedelta(hours=12)
        self.expire_time = datetime.now(UTC) + timedelta(hours=24)
        self.public = ""
        self.agents = ""

    async def next_session(self) -> HeldSession:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.sessions.get()

    async def Enroll(self, request: v1.EnrollRequest, context: grpc.aio.ServicerContext) -> v1.EnrollResponse:  # noqa: N802  # gRPC's name
        token = dict(context.invocation_metadata() or ())["authorization"]
        self.enrolments.append((request, str(token)))
        if self.refuse_enrolment:
            await self.refuse_enrolment.abort(context)
        return v1.EnrollResponse(
            cluster_id="cluster-1",
            node=f"nodes/{request.node_id}",
            node_uid="uid-1",
            certificate_pem=self.authority.agent(request.csr_pem),
            ca_pem=self.told_to_trust or self.authority.pem,
            agent_endpoints=[self.agents],
            renew_time=_timestamp(self.renew_time),
            expire_time=_timestamp(self.expire_time),
        )

    async def Renew(self, request: v1.RenewRequest, context: grpc.aio.ServicerContext) -> v1.RenewResponse:  # noqa: N802  # gRPC's name
        if self.refuse_renewal:
            await self.refuse_renewal.abort(context)
        self.renewals.append(request)
        return v1.RenewResponse(
            certificate_pem=self.authority.agent(request.csr_pem),
            renew_time=_timestamp(datetime.now(UTC) + timedelta(hours=12)),
            expire_time=_timestamp(datetime.now(UTC) + timedelta(hours=24)),
            ca_pem=self.told_to_trust,
        )

    async def SendLogs(  # noqa: N802  # gRPC's name
        self, requests: AsyncIterator[v1.SendLogsRequest], context: grpc.aio.ServicerContext
    ) -> v1.SendLogsResponse:
        if self.refuse_logs:
            await self.refuse_logs.abort(context)
        try:
            async for request in requests:
                self.log_messages.append(request)
                self.log_arrived.set()
        finally:
            self.log_ended.set()
        return v1.SendLogsResponse()

    async def Session(  # noqa: N802  # gRPC's name
        self, requests: AsyncIterator[v1.SessionRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[v1.SessionResponse]:
        first = await anext(aiter(requests))
        hello = first.hello
        self.hellos.append(hello)
        refusal = self.refuse(hello)
        if refusal is not None:
            await refusal.abort(context)
        held = HeldSession(hello=hello, epoch=len(self.hellos))
        yield v1.SessionResponse(
            session_epoch=held.epoch,
            welcome=v1.Welcome(
                session_epoch=held.epoch,
                protocol=self.protocol,
                heartbeat_period=Duration(nanos=int(HEARTBEAT_SECONDS * 1e9)),
                return_spread=Duration(seconds=self.return_seconds),
            ),
        )
        self.sessions.put_nowait(held)
        reading = asyncio.create_task(_collect(requests, held))
        try:
            while isinstance(message := await held.outbox.get(), v1.SessionResponse):
                yield message
            if message is not None:
                await message.abort(context)
        finally:
            reading.cancel()
            held.over.set()


async def _collect(requests: AsyncIterator[v1.SessionRequest], held: HeldSession) -> None:
    async for request in requests:
        held.received.append(request)
        held.arrived.set()


@contextlib.asynccontextmanager
async def serving(controller: TestController) -> AsyncIterator[TestController]:
    """Serve a controller on two loopback listeners, as the real one does."""
    options = [("grpc.http2.min_ping_interval_without_data_ms", 5_000), ("grpc.so_reuseport", 0)]
    pair = [controller.authority.server()]
    public, agents = grpc.aio.server(options=options), grpc.aio.server(options=options)
    v1.add_EnrollmentServiceServicer_to_server(controller, public)
    v1.add_AgentServiceServicer_to_server(controller, agents)
    ports = (
        public.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair)),
        agents.add_secure_port(
            "127.0.0.1:0",
            grpc.ssl_server_credentials(
                pair, root_certificates=controller.authority.pem.encode(), require_client_auth=True
            ),
        ),
    )
    controller.public, controller.agents = (f"127.0.0.1:{port}" for port in ports)
    await public.start()
    await agents.start()
    try:
        yield controller
    finally:
        await asyncio.gather(public.stop(0), agents.stop(0))


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until a condition that nothing announces holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            holds = condition()
            if await holds if isinstance(holds, Awaitable) else holds:
                return
            await asyncio.sleep(0.01)


def _timestamp(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message
