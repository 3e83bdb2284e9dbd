"""A controller's two listeners on loopback, with every service, in the test's own process."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from motorpool import v1
from motorpool_controller import config
from motorpool_controller.catalog.cache import FactsCache
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.catalog.hubs import HUBS
from motorpool_controller.config import Settings
from motorpool_controller.domain.controllers import Controller
from motorpool_controller.leading import public_services
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.security.authority import Authority, key_pem
from motorpool_controller.services.agents import AgentService
from motorpool_controller.services.duties import leading
from motorpool_controller.services.initialization import initialise_data_dir
from motorpool_controller.services.roles import Role
from motorpool_controller.services.server import Server
from motorpool_controller.services.tokens import make_token
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store, utc_now
from tests.controller.requests import csr

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Enrolled:
    """A made-up machine that enrolled."""

    answer: v1.EnrollResponse
    key: bytes


@dataclass(frozen=True)
class Running:
    settings: Settings
    store: Store
    live: Live
    authorities: Authorities
    server: Server
    public: grpc.aio.Channel
    """To the public listener; calls need ``metadata``."""
    services: Sequence[object] = ()

    @property
    def authority(self) -> Authority:
        """The authority of the server's certificate."""
        return self.authorities.present().serving

    def service(self, kind: type[T]) -> T:
        """Return the one of the public listener's services that is of a kind."""
        return next(each for each in self.services if isinstance(each, kind))

    def bearer(
        self, role: Role, *, ttl: timedelta | None = None, uses: int | None = None, now: datetime | None = None
    ) -> Metadata:
        """Return the metadata of a call with a new token."""
        token, text = make_token(role, "", ttl, uses, now=now or utc_now(), ca_fingerprint=self.authority.fingerprint)
        self.store.tokens.add(token)
        return (("authorization", f"Bearer {text}"),)

    async def enroll(self, name: str, metadata: Metadata, *, enrollment_id: str = "") -> Enrolled:
        """Enrol a machine."""
        key = ec.generate_private_key(ec.SECP256R1())
        request = v1.EnrollRequest(
            node_id=name,
            csr_pem=csr(key),
            enrollment_id=enrollment_id or f"machine-{name}",
            agent_version="0.1.0",
            host=v1.Host(hostname=name, os="linux", architecture="amd64", cpu_count=2, memory_bytes=1 << 30),
        )
        answer = await v1.EnrollmentServiceStub(self.public).Enroll(request, metadata=metadata)
        return Enrolled(answer, key_pem(key))

    def agents(self, certificate_pem: str, key: bytes) -> grpc.aio.Channel:
        """Return a channel to the agents' listener with a client certificate."""
        credentials = grpc.ssl_channel_credentials(
            self.authority.pem.encode(), private_key=key, certificate_chain=certificate_pem.encode()
        )
        return grpc.aio.secure_channel(str(self.server.agents_address), credentials)


@asynccontextmanager
async def running(directory: Path, *, clock: Callable[[], datetime] = utc_now) -> AsyncIterator[Running]:
    """Run a new cluster's controller, without its loop."""
    settings = config.load(
        {
            "data_dir": directory / "controller",
            "listen": "127.0.0.1:0",
            "agents_listen": "127.0.0.1:0",
            "shutdown_grace_seconds": "0",
        },
        environment={},
    )
    initialise_data_dir(settings)
    async with await Store.open(settings.database, clock=clock) as store:
        live = Live()
        authorities = Authorities(settings.data_dir, store.view.cluster_id)
        authority = authorities.present().serving
        catalog = Catalog(HUBS, FactsCache(settings.catalog))
        server = Server(settings, authorities, clock=clock)
        me = controller(server)
        services = public_services(settings, store, live, authorities, catalog, me)
        agents = [AgentService(store, live, authorities, settings, me, clock=clock)]
        await server.take(leading(store, authorities, public=services, agents=agents, audit=server.audit, clock=clock))
        credentials = grpc.ssl_channel_credentials(authority.pem.encode())
        try:
            async with grpc.aio.secure_channel(str(server.public_address), credentials) as public:
                yield Running(settings, store, live, authorities, server, public, services)
        finally:
            await server.stop()
            await catalog.close()


def controller(server: Server) -> Controller:
    """Return the one whose listeners these are."""
    return Controller(
        name=server.public_endpoints[0],
        public_endpoints=server.public_endpoints,
        agent_endpoints=server.agent_endpoints,
        start_time=utc_now(),
    )


def reason(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Return a failed call's code, and the reason of its one ErrorInfo."""
    status = Status()
    # A Metadata of the asynchronous client, a tuple of the other: pairs of both.
    trailing: Any = error.trailing_metadata()
    for key, value in trailing or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    infos = [detail for detail in status.details if detail.Is(ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1, error
    info = ErrorInfo()
    infos[0].Unpack(info)
    assert info.domain == "motorpool"
    return error.code(), info.reason
