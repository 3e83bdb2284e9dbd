"""The agents' side of the API: sessions, new certificates, log lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version

import grpc

from motorpool import v1
from motorpool_controller import metrics
from motorpool_controller.config import Settings
from motorpool_controller.domain.controllers import Controller
from motorpool_controller.domain.errors import InvalidError, NotFoundError
from motorpool_controller.domain.names import shown
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.security.authority import AgentCertificate
from motorpool_controller.services import sessions
from motorpool_controller.services.admission import Admission
from motorpool_controller.services.authentication import check_not_banned
from motorpool_controller.services.callers import caller
from motorpool_controller.services.certificates import give_certificate
from motorpool_controller.services.cluster import PROTOCOL_MAX
from motorpool_controller.services.convert import fields
from motorpool_controller.services.observed import revoked
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store, utc_now
from motorpool_controller.store.taps import LogTap
from motorpool_controller.store.transaction import Transaction

HELLO_SECONDS = 10.0
SessionContext = grpc.aio.ServicerContext[v1.SessionRequest, v1.SessionResponse]


class AgentService(v1.AgentServiceServicer):
    """Speaks with agents."""

    def __init__(
        self,
        store: Store,
        live: Live,
        authorities: Authorities,
        settings: Settings,
        me: Controller,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._live = live
        self._authorities = authorities
        self._settings = settings
        self._admission = Admission(store, live, settings, authorities, clock, me)
        self._version = version("motorpool-controller")

    async def Session(  # noqa: N802  # gRPC's name
        self,
        request_iterator: AsyncIterator[v1.SessionRequest],
        context: SessionContext,
    ) -> AsyncIterator[v1.SessionResponse]:
        """Carry one session, from its Hello to its end."""
        who = caller()
        session = await self._admission.admit(await _hello(context), who)
        metrics.SESSIONS_OPENED.add()
        # No TaskGroup: a generator must not yield inside one, and this task ends with the generator.
        reader = asyncio.create_task(_read(session, context), name=f"session of {who.node}")
        try:
            yield self._welcome(session)
            while not session.ended():
                session.wake.clear()
                for message in session.outgoing():
                    yield message
                    del message  # see _read
                await session.woken()
        finally:
            reader.cancel()
            self._admission.leave(session)
            session.end()
            await asyncio.wait([reader])

    async def Renew(  # noqa: N802  # gRPC's name
        self,
        request: v1.RenewRequest,
        context: grpc.aio.ServicerContext[v1.RenewRequest, v1.RenewResponse],
    ) -> v1.RenewResponse:
        """Give the caller's node a new certificate."""
        who = caller()
        # One look: who trusts a new authority has a certificate of it.
        trust = self._authorities.present()

        def change(tx: Transaction) -> AgentCertificate:
            node = tx.nodes.get(who.node)
            if node is None or node.uid != who.node_uid:
                raise revoked(who.node)
            check_not_banned(node)
            return give_certificate(tx, trust.signing, node, request.csr_pem)

        certificate = await self._store.commit(change)
        return v1.RenewResponse(
            certificate_pem=certificate.pem,
            renew_time=fields.timestamp(certificate.renew_time),
            expire_time=fields.timestamp(certificate.expire_time),
            ca_pem=trust.pem,
        )

    async def SendLogs(  # noqa: N802  # gRPC's name
        self,
        request_iterator: AsyncIterator[v1.SendLogsRequest],
        context: grpc.aio.ServicerContext[v1.SendLogsRequest, v1.SendLogsResponse],
    ) -> v1.SendLogsResponse:
        """Hand an agent's lines to their reader, until either of them leaves."""
        who = caller()
        tap: LogTap | None = None
        try:
            async for message in request_iterator:
                if tap is None:
                    tap = self._live.find_tap(message.subscription_id)
                    if tap is None or tap.node != who.node:
                        raise NotFoundError(
                            "NOT_FOUND", f"nobody reads log subscription {shown(message.subscription_id)} any more"
                        )
                    tap.dialled.set()
                await tap.push([fields.text(line) for line in message.lines], fields.text(message.position))
                if message.end or tap.left.is_set():
                    tap.end(fields.text(message.error_message), fields.text(message.error_reason))
                    break
            return v1.SendLogsResponse()
        finally:
            if tap is not None:
                tap.end(f"the agent of {who.node} broke off; try again")

    def _welcome(self, session: sessions.Session) -> v1.SessionResponse:
        period_seconds = session.period_seconds
        return v1.SessionResponse(
            session_epoch=session.epoch,
            welcome=v1.Welcome(
                session_epoch=session.epoch,
                protocol=PROTOCOL_MAX,
                heartbeat_period=fields.duration(period_seconds),
                lease=fields.duration(self._settings.lease_periods * period_seconds),
                controller_version=self._version,
                agent_endpoints=session.whereabouts.told,
                return_spread=fields.duration(session.return_seconds),
            ),
        )


async def _hello(context: SessionContext) -> v1.Hello:
    first: object = None
    with suppress(TimeoutError):
        async with asyncio.timeout(HELLO_SECONDS):
            first = await context.read()
    if not isinstance(first, v1.SessionRequest) or first.WhichOneof("message") != "hello":
        raise InvalidError(
            "FIELD_INVALID",
            f"message: a session begins with a Hello, within {HELLO_SECONDS:g} seconds",
            metadata={"field": "message"},
        )
    return first.hello


async def _read(session: sessions.Session, context: SessionContext) -> None:
    """Feed the session until its agent leaves."""
    try:
        # Each message is let go of before the next is waited for, as gRPC's iterator does not: kept by ten thousand
        # sessions for the whole of a period, the last heartbeats would be tens of megabytes.
        while isinstance(message := await context.read(), v1.SessionRequest):
            await session.receive(message)
            del message
    except Exception as error:  # noqa: BLE001  # told by the generator that waits for this task
        session.end(error)
    else:
        session.end()
