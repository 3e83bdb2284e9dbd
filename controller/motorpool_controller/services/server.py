"""The two listeners: the public one, and the agents'."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from motorpool import v1
from motorpool_controller.config import Address, Settings
from motorpool_controller.security.addresses import advertised, certified
from motorpool_controller.security.authorities import Authorities, Trust
from motorpool_controller.security.serving import Serving, serving_certificate
from motorpool_controller.services.audit import AuditLog
from motorpool_controller.services.authentication import (
    CertificateAuthenticator,
    TokenAuthenticator,
)
from motorpool_controller.services.errors import ListenError
from motorpool_controller.services.guard import Guard
from motorpool_controller.services.health import Health
from motorpool_controller.services.long_calls import LongCalls
from motorpool_controller.store.store import Store, utc_now

PUBLIC_MESSAGE_BYTES = 4 * 1024 * 1024
AGENTS_MESSAGE_BYTES = 64 * 1024 * 1024
PUBLIC_CALLS = 4_096
AGENTS_CALLS = 65_536
"""Calls in progress of everybody: beyond it gRPC answers RESOURCE_EXHAUSTED by itself. An agent's session is one."""
STREAMS_OF_CONNECTION = 1_024
HEADERS_BYTES = 16 * 1024
HANDSHAKE_SECONDS = 20
IDLE_SECONDS = 600

log = logging.getLogger(__name__)

_ADDERS: Mapping[type, Callable[[Any, grpc.aio.Server], None]] = {
    v1.AgentServiceServicer: v1.add_AgentServiceServicer_to_server,
    v1.BackendServiceServicer: v1.add_BackendServiceServicer_to_server,
    v1.ClusterServiceServicer: v1.add_ClusterServiceServicer_to_server,
    v1.DeploymentServiceServicer: v1.add_DeploymentServiceServicer_to_server,
    v1.EnrollmentServiceServicer: v1.add_EnrollmentServiceServicer_to_server,
    v1.EventServiceServicer: v1.add_EventServiceServicer_to_server,
    v1.FileServiceServicer: v1.add_FileServiceServicer_to_server,
    v1.InstanceServiceServicer: v1.add_InstanceServiceServicer_to_server,
    v1.ModelServiceServicer: v1.add_ModelServiceServicer_to_server,
    v1.NodeServiceServicer: v1.add_NodeServiceServicer_to_server,
    v1.TokenServiceServicer: v1.add_TokenServiceServicer_to_server,
    v1.WatchServiceServicer: v1.add_WatchServiceServicer_to_server,
}


class Server:
    """Serves the public services on one listener, and the agents' on the other."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        authorities: Authorities,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._authorities = authorities
        self._clock = clock
        hosts = certified((settings.listen, settings.agents_listen), settings.advertise)
        self._hosts = hosts
        self._shown = self._made(authorities.present(), clock())
        self._making = threading.Lock()
        self._audit = AuditLog(settings.data_dir)
        self._public = self._server(TokenAuthenticator(store, clock), PUBLIC_MESSAGE_BYTES, PUBLIC_CALLS)
        self._agents = self._server(
            CertificateAuthenticator(store, clock, authorities), AGENTS_MESSAGE_BYTES, AGENTS_CALLS
        )
        self.health = Health(store)
        """Whether it is well; others tell it what they know."""
        self.public_address = self._bind(self._public, settings.listen, agents=False)
        """Where the public listener is bound, its port known."""
        self.agents_address = self._bind(self._agents, settings.agents_listen, agents=True)
        """Where the agents' listener is bound, its port known."""
        self.agent_endpoints = tuple(
            str(Address(host, self.agents_address.port))
            for host in advertised(settings.agents_listen, settings.advertise)
        )
        """Where agents reach the agents' listener."""

    async def start(self, public: Sequence[object], agents: Sequence[object]) -> None:
        """Serve these services, on the public listener and on the agents'."""
        for service in public:
            _add(service, self._public)
        for service in agents:
            _add(service, self._agents)
        names = _names([*public, *agents])
        self.health.serve(names)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._public)
        reflection.enable_server_reflection(
            # The agents' too: whoever looks finds what there is, wherever it is served.
            sorted([*names, health.SERVICE_NAME, reflection.SERVICE_NAME]),
            self._public,
        )
        await self._public.start()
        await self._agents.start()

    async def stop(self) -> None:
        """End: refuse new calls, let those in progress finish for the grace, then cut them."""
        self.health.stop()
        grace = self._settings.shutdown_grace_seconds
        await asyncio.gather(self._public.stop(grace), self._agents.stop(grace))
        self._audit.close()

    def _server(
        self, authenticator: TokenAuthenticator | CertificateAuthenticator, message_bytes: int, calls: int
    ) -> grpc.aio.Server:
        return grpc.aio.server(
            interceptors=[Guard(authenticator, LongCalls(authenticator), audit=self._audit, clock=self._clock)],
            maximum_concurrent_rpcs=calls,
            options=[
                ("grpc.max_receive_message_length", message_bytes),
                ("grpc.max_metadata_size", HEADERS_BYTES),
                ("grpc.absolute_max_metadata_size", HEADERS_BYTES),
                ("grpc.max_concurrent_streams", STREAMS_OF_CONNECTION),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1_000),
                # Of a connection on which nothing is going on; a client makes another one by itself.
                ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1_000),
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
        # Without the lock: a fleet that comes back would wait in it, each for the interpreter, a hundred a second.
        trust, now, shown = self._authorities.present(), self._clock(), self._shown
        if shown.holds(trust, now):
            return shown
        with self._making:
            if self._shown.holds(trust, now):
                return self._shown
            try:
                self._shown = self._made(trust, now)
            except OSError as error:
                log.error("server certificate not renewed", extra={"error": str(error)})  # noqa: TRY400  # it says it all
                return self._shown
            log.info("server certificate renewed", extra={"renew_time": self._shown.serving.renew_time.isoformat()})
            return self._shown

    def _made(self, trust: Trust, now: datetime) -> _Shown:
        return _Shown(trust, serving_certificate(self._settings.data_dir, trust.serving, self._hosts, now))


@dataclass(frozen=True, slots=True)
class _Shown:
    """Whom the listeners trust, and the certificate that they show."""

    trust: Trust
    serving: Serving

    def holds(self, trust: Trust, now: datetime) -> bool:
        """Return whether they are the present ones."""
        return trust is self.trust and now < self.serving.renew_time


def _configuration(shown: _Shown) -> grpc.ServerCertificateConfiguration:
    serving, trust = shown.serving, shown.trust
    # The chain goes up to the authority: a machine that joins finds it there by the fingerprint in its token.
    return grpc.ssl_server_certificate_configuration(
        [(serving.key, serving.certificate + trust.serving.pem.encode())], root_certificates=trust.pem.encode()
    )


def _add(service: object, server: grpc.aio.Server) -> None:
    _ADDERS[_servicer(service)](service, server)


def _names(services: Sequence[object]) -> list[str]:
    names = (_servicer(service).__name__.removesuffix("Servicer") for service in services)
    pool = descriptor_pool.Default()
    return [str(pool.FindServiceByName(f"motorpool.v1.{name}").full_name) for name in names]


def _servicer(service: object) -> type:
    found = next((kind for kind in _ADDERS if isinstance(service, kind)), None)
    if found is None:
        raise TypeError(f"{type(service).__name__} is none of the services of motorpool.v1")
    return found
