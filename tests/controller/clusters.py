"""A whole controller in this process: real store, real listeners on loopback, real TLS, and clients of both."""

from __future__ import annotations

import asyncio
import contextlib
import time
import tomllib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from motorpool import v1
from motorpool_controller.catalog.cache import FactsCache
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.catalog.hub import Hub
from motorpool_controller.catalog.hubs import HUBS
from motorpool_controller.config import Address, Settings
from motorpool_controller.domain.workload import SourceKind
from motorpool_controller.loops.reconciler import Reconciler
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.services.agents import AgentService
from motorpool_controller.services.backends import BackendService
from motorpool_controller.services.deployments import DeploymentService
from motorpool_controller.services.duties import leading
from motorpool_controller.services.enrollment import EnrollmentService
from motorpool_controller.services.events import EventService
from motorpool_controller.services.files import FileService
from motorpool_controller.services.initialization import initialise_data_dir
from motorpool_controller.services.instances import InstanceService
from motorpool_controller.services.models import ModelService
from motorpool_controller.services.nodes import NodeService
from motorpool_controller.services.roles import Role
from motorpool_controller.services.server import Server
from motorpool_controller.services.tokens import TokenService, make_token
from motorpool_controller.services.watch import WatchService
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store, utc_now
from tests.controller.running import controller

WAIT_SECONDS = 20.0
T = TypeVar("T")
Hubs = Mapping[SourceKind, Callable[[], Hub]]


def settings(data_dir: Path, **changes: Any) -> Settings:
    address = Address("127.0.0.1", 0)
    return Settings(
        **{
            "data_dir": data_dir,
            "listen": address,
            "agents_listen": address,
            "shutdown_grace_seconds": 0.0,
            # Tests enrol whole fleets at once.
            "enrolments_per_second": 10_000.0,
            **changes,
        }
    )


class Cluster:
    """One running controller."""

    def __init__(
        self, store: Store, live: Live, authorities: Authorities, server: Server, made: Settings, clock: Clock
    ) -> None:
        self.clock = clock
        self.store = store
        self.live = live
        self.authorities = authorities
        self.authority = authorities.present().serving
        self.settings = made
        self.agents_target = str(server.agents_address)
        self.public_target = str(server.public_address)
        self._tokens = {Role.ADMIN: tomllib.loads((made.data_dir / "client.toml").read_text())["token"]}
        self._channel = grpc.aio.secure_channel(
            self.public_target, grpc.ssl_channel_credentials(self.authority.pem.encode())
        )
        self.nodes = v1.NodeServiceStub(self._channel)
        self.deployments = v1.DeploymentServiceStub(self._channel)
        self.files = v1.FileServiceStub(self._channel)
        self.instances = v1.InstanceServiceStub(self._channel)
        self.events = v1.EventServiceStub(self._channel)
        self.backends = v1.BackendServiceStub(self._channel)
        self.models = v1.ModelServiceStub(self._channel)
        self.watches = v1.WatchServiceStub(self._channel)
        self.tokens = v1.TokenServiceStub(self._channel)
        self.enrollment = v1.EnrollmentServiceStub(self._channel)

    @property
    def admin(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._tokens[Role.ADMIN]}"),)

    async def token(self, role: Role) -> tuple[tuple[str, str], ...]:
        uses = 1 if role is Role.JOIN else None
        row, text = make_token(
            role, "", timedelta(hours=1), uses, now=utc_now(), ca_fingerprint=self.authority.fingerprint
        )
        await asyncio.to_thread(self.store.tokens.add, row)
        return (("authorization", f"Bearer {text}"),)

    async def close(self) -> None:
        await self._channel.close()

    async def deploy(self, name: str = "chat", path: str = "/models/m.gguf", **spec: Any) -> v1.Deployment:
        return await self.deployments.CreateDeployment(
            v1.CreateDeploymentRequest(
                deployment_id=name,
                deployment=v1.Deployment(spec=v1.DeploymentSpec(model=v1.ModelSource(local_path=path), **spec)),
            ),
            metadata=self.admin,
        )

    async def instance_of(self, deployment: str) -> v1.Instance:
        listed = await self.instances.ListInstances(
            v1.ListInstancesRequest(deployment=f"deployments/{deployment}"), metadata=self.admin
        )
        (found,) = listed.instances
        return found

    async def call(self, method: MethodDescriptor, request: Message) -> Message | None:
        """Call a method of the public listener by name; return its first answer, None where it ends without one."""
        # On the wire every call is a stream both ways.
        path = f"/{method.containing_service.full_name}/{method.name}"
        stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(path)
        call = stream(iter([request.SerializeToString()]), metadata=self.admin)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                answer = await call.read()
        finally:
            call.cancel()
        return GetMessageClass(method.output_type).FromString(answer) if isinstance(answer, bytes) else None

    async def refusal(self, method: MethodDescriptor, request: Message) -> str | None:
        """Return the reason for which a call fails, None where it answers."""
        try:
            await self.call(method, request)
        except grpc.aio.AioRpcError as error:
            return reason(error)
        return None

    def pass_time(self, seconds: float) -> None:
        """Put the clock forward, and have the controller notice."""
        self.clock.ahead_seconds += seconds
        self.live.changed.set()

    async def live_settled(self) -> None:
        """Return when the reconciler has looked at what is true now, twice."""
        for _ in range(2):
            self.live.changed.set()
            await until(lambda: not self.live.changed.is_set())
            await self.store.commit(lambda _: None)

    def event_reasons(self) -> list[str]:
        return [event.reason for event in self.store.view.events.values()]

    async def until(self, condition: Callable[[], T | None]) -> T:
        """Return the condition's answer as soon as it has one; looked at whenever the store or live state changes."""
        return await until(condition)


async def until(condition: Callable[[], T | None]) -> T:
    async with asyncio.timeout(WAIT_SECONDS):
        while not (found := condition()):  # noqa: ASYNC110  # whatever the condition looks at
            await asyncio.sleep(0.005)
    return found


class Clock:
    """The time, which a test can put forward."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def now(self) -> datetime:
        return utc_now() + timedelta(seconds=self.ahead_seconds)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_seconds


@asynccontextmanager
async def running(
    made: Settings, *, reconcile: bool = True, clock: Clock | None = None, hubs: Hubs = HUBS
) -> AsyncIterator[Cluster]:
    """Run a controller on a data directory; make the cluster where there is none."""
    clock = clock or Clock()
    if not (made.data_dir / "ca.pem").exists():
        await asyncio.to_thread(initialise_data_dir, made)
    async with await Store.open(made.database, clock=clock.now) as store:
        authorities = Authorities(made.data_dir, store.view.cluster_id)
        live = Live(clock.monotonic)
        catalog = Catalog(hubs, FactsCache(made.catalog), seconds=made.hub_seconds)
        server = Server(made, authorities, clock=clock.now)
        me = controller(server)
        duty = leading(
            store,
            authorities,
            public=[
                EnrollmentService(store, authorities, me, per_second=made.enrolments_per_second),
                NodeService(store, live),
                DeploymentService(store, live, catalog, clock=clock.now),
                FileService(store, live, clock=clock.now),
                InstanceService(store, live),
                ModelService(store, live, catalog, clock=clock.now),
                EventService(store),
                BackendService(store),
                WatchService(store, live),
                TokenService(store, authorities, clock=clock.now),
            ],
            agents=[AgentService(store, live, authorities, made, me, clock=clock.now)],
            audit=server.audit,
            clock=clock.now,
        )
        await server.take(duty)
        reconciler = Reconciler(store, live, catalog, made, clock=clock.now)
        loop = asyncio.create_task(reconciler.run()) if reconcile else None
        cluster = Cluster(store, live, authorities, server, made, clock)
        try:
            yield cluster
        finally:
            await cluster.close()
            if loop is not None:
                loop.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await loop
            await server.stop()
            await catalog.close()


def reason(error: grpc.aio.AioRpcError) -> str:
    """Return the stable reason of a failed call."""
    status = rpc_status.from_call(error)
    info = ErrorInfo()
    assert status is not None, error
    assert status.details[0].Unpack(info)
    return str(info.reason)


def fresh(prefix: str = "") -> str:
    return prefix + uuid.uuid4().hex
