"""The two listeners: the public one, and the agents'."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from motorpool_controller.config import Address, Settings
from motorpool_controller.security.addresses import advertised, certified
from motorpool_controller.security.authorities import Authorities, Trust
from motorpool_controller.security.serving import Serving, serving_certificate
from motorpool_controller.services.audit import AuditLog
from motorpool_controller.services.duties import SERVICES, Duty, Post
from motorpool_controller.services.errors import ListenError
from motorpool_controller.services.health import Health
from motorpool_controller.store.store import utc_now

PUBLIC_MESSAGE_BYTES = 4 * 1024 * 1024
AGENTS_MESSAGE_BYTES = 64 * 1024 * 1024
PUBLIC_CALLS = 4_096
AGENTS_CALLS = 65_536
"""Calls in progress of everybody: beyond it gRPC answers RESOURCE_EXHAUSTED by itself. An agent's session is one."""
STREAMS_OF_CONNECTION = 1_024
HEADERS_BYTES = 16 * 1024
FRAME_BYTES = 2_048
HANDSHAKE_SECONDS = 20
WAITING_SECONDS = 10.0
"""How long a call may wait where agents are let in at the settings' pace: half of what they give a Welcome."""
LEAST_WAITING = 1_000
"""Calls that may wait in any case, as with gRPC's own defaults."""
IDLE_SECONDS = 600

log = logging.getLogger(__name__)


class Server:
    """Both listeners, bound for as long as the process lives; what they do is their duty at present."""

    def __init__(
        self, settings: Settings, authorities: Authorities, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._settings = settings
        self._authorities = authorities
        self._clock = clock
        hosts = certified((settings.listen, settings.agents_listen), settings.advertise)
        self._hosts = hosts
        self._shown = self._made(authorities.present(), clock())
        self._making = threading.Lock()
        self.audit = AuditLog(settings.data_dir)
        self._duty: Duty | None = None
        self._stopped = False
        self.started = False
        """Whether the listeners answer."""
        self._public = self._server(lambda duty: duty.public, PUBLIC_MESSAGE_BYTES, PUBLIC_CALLS)
        self._agents = self._server(lambda duty: duty.agents, AGENTS_MESSAGE_BYTES, AGENTS_CALLS)
        self.health = Health(SERVICES)
        """Whether it is well; others tell it what they know."""
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._public)
        reflection.enable_server_reflection(
            # The agents' too: whoever looks finds what there is, wherever it is served.
            sorted([*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME]),
            self._public,
        )
        self.public_address = self._bind(self._public, settings.listen, agents=False)
        """Where the public listener is bound, its port known."""
        self.agents_address = self._bind(self._agents, settings.agents_listen, agents=True)
        """Where the agents' listener is bound, its port known."""
        self.public_endpoints = self._endpoints(settings.listen, self.public_address)
        """Where people and programs reach the public listener."""
        self.agent_endpoints = self._endpoints(settings.agents_listen, self.agents_address)
        """Where agents reach the agents' listener."""

    async def take(self, duty: Duty) -> None:
        """Do this from now on; calls in progress end as they began, unless their duty was ended."""
        self._duty = duty
        self.health.store = duty.store
        if not self.started:
            self.started = True
            await self._public.start()
            await self._agents.start()

    async def stop(self) -> None:
        """End: refuse new calls, let those in progress finish for the grace, then cut them. Once is enough."""
        if self._stopped:
            return
        self._stopped = True
        self.health.stop()
        grace = self._settings.shutdown_grace_seconds
        await asyncio.gather(self._public.stop(grace), self._agents.stop(grace))
        self.audit.close()

    def _endpoints(self, listen: Address, bound: Address) -> tuple[str, ...]:
        return tuple(str(Address(host, bound.port)) for host in advertised(listen, self._settings.advertise))

    def _server(self, post: Callable[[Duty], Post], message_bytes: int, calls: int) -> grpc.aio.Server:
        def present() -> Post:
            if self._duty is None:
                raise RuntimeError("a listener is started with its first duty")
            return post(self._duty)

        waiting = max(LEAST_WAITING, math.ceil(WAITING_SECONDS * self._settings.sessions_per_second))
        server = grpc.aio.server(
            interceptors=[_Present(present)],
            maximum_concurrent_rpcs=calls,
            options=[
                ("grpc.max_receive_message_length", message_bytes),
                # TLS keeps a buffer of this size for each connection, and a fleet sends and is sent small messages.
                ("grpc.tsi.max_frame_size", FRAME_BYTES),
                ("grpc.max_metadata_size", HEADERS_BYTES),
                ("grpc.absolute_max_metadata_size", HEADERS_BYTES),
                ("grpc.max_concurrent_streams", STREAMS_OF_CONNECTION),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1_000),
                # Of a connection on which nothing is going on; a client makes another one by itself.
                ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1_000),
                # Calls that gRPC has taken and we have not: beyond, it turns some away without a word, at twice it all.
                ("grpc.server.max_pending_requests", waiting),
                ("grpc.server.max_pending_requests_hard_limit", 2 * waiting),
                # Two controllers on one port would each get some of the calls.
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                # Who pings more often is disconnected after two of them.
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.http2.max_ping_strikes", 2),
            ],
        )
        server.add_generic_rpc_handlers([_PresentHandlers(present)])
        return server

    def _bind(self, server: grpc.aio.Server, address: Address, *, agents: bool) -> Address:
        given = self._shown

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            """Return what this listener shows and trusts from now on; gRPC asks at every handshake, in its threads."""
            nonlocal given
            present = self._present()
            if present is given:
                return None
            given = present
            return _configuration(present)

        credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(given),
            renewed,  # type: ignore[arg-type]  # gRPC documents None for "keep what you have"
            require_client_authentication=agents,
        )
        try:
            port = server.add_secure_port(str(address), credentials)
        except RuntimeError as error:
            raise ListenError(
                f"cannot listen on {address}: the port is in use, or the address is not this machine's; give another "
                f"with {'--agents-listen' if agents else '--listen'}"
            ) from error
        return Address(address.host, port)

    def _present(self) -> _Shown:
        """Return the present certificate, anew once it ends soon or the authorities changed."""
        # Nobody waits for the lock, or looks where another looks just now: a fleet that comes back would shake hands a
        # hundred times a second, as each waits for the interpreter in it.
        if not self._making.acquire(blocking=False):
            return self._shown
        try:
            trust, now = self._authorities.present(), self._clock()
            if trust is self._shown.trust and now < self._shown.serving.renew_time:
                return self._shown
            try:
                self._shown = self._made(trust, now)
            except OSError as error:
                log.error("server certificate not renewed", extra={"error": str(error)})  # noqa: TRY400  # it says it all
                return self._shown
            log.info("server certificate renewed", extra={"renew_time": self._shown.serving.renew_time.isoformat()})
            return self._shown
        finally:
            self._making.release()

    def _made(self, trust: Trust, now: datetime) -> _Shown:
        return _Shown(trust, serving_certificate(self._settings.data_dir, trust.serving, self._hosts, now))


class _Present(grpc.aio.ServerInterceptor):
    """Has each call guarded by the guard of the duty that is the present one when it comes."""

    def __init__(self, present: Callable[[], Post]) -> None:
        self._present = present

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the call's handler, guarded."""
        return await self._present().guard.intercept_service(continuation, details)


class _PresentHandlers(grpc.GenericRpcHandler):
    """Finds the handler of a call among those of the present duty."""

    def __init__(self, present: Callable[[], Post]) -> None:
        self._present = present

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return it, or None."""
        return self._present().handlers.service(details)


@dataclass(frozen=True, slots=True)
class _Shown:
    """Whom the listeners trust, and the certificate that they show."""

    trust: Trust
    serving: Serving


def _configuration(shown: _Shown) -> grpc.ServerCertificateConfiguration:
    serving, trust = shown.serving, shown.trust
    # The chain goes up to the authority: a machine that joins finds it there by the fingerprint in its token.
    return grpc.ssl_server_certificate_configuration(
        [(serving.key, serving.certificate + trust.serving.pem.encode())], root_certificates=trust.pem.encode()
    )
