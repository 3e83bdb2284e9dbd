"""One run of a controller: everything of the real one but gRPC's transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from motorpool import v1
from motorpool_controller.catalog.cache import FactsCache
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.catalog.hubs import HUBS
from motorpool_controller.config import Settings
from motorpool_controller.loops.reconciler import Reconciler
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.services.agents import AgentService
from motorpool_controller.services.authentication import CertificateAuthenticator
from motorpool_controller.services.callers import Caller
from motorpool_controller.services.deployments import DeploymentService
from motorpool_controller.services.enrollment import EnrollmentService
from motorpool_controller.services.guard import Guard
from motorpool_controller.services.instances import InstanceService
from motorpool_controller.services.nodes import NodeService
from motorpool_controller.services.roles import Role
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store
from tests.controller.rows import ME
from tests.session.loops import Clock, ProcessLoop, run
from tests.session.network import WINDOW, Network, Stream, requests

T = TypeVar("T")
OPERATOR = Caller(role=Role.ADMIN, token_id="operator")
SESSION = "/motorpool.v1.AgentService/Session"


class RefusedError(Exception):
    """A call that the controller answered with an error."""

    def __init__(self, code: grpc.StatusCode, reason: str, message: str) -> None:
        super().__init__(f"{code.name} {reason}: {message}")
        self.code = code
        self.reason = reason


class ControllerProcess:
    """A controller that runs, in a loop of its own; ``kill`` ends it as SIGKILL does."""

    def __init__(self, settings: Settings, clock: Clock, network: Network) -> None:
        self.loop = ProcessLoop(clock)
        self.settings = settings
        self.clock = clock
        self._network = network
        self.store = run(self.loop, Store.open(settings.database, clock=clock.now))
        self.live = Live(clock.monotonic)
        authorities = Authorities(settings.data_dir, self.store.view.cluster_id)
        catalog = Catalog(HUBS, FactsCache(settings.catalog))
        methods = _Handlers()
        handlers: Any = methods
        v1.add_EnrollmentServiceServicer_to_server(
            EnrollmentService(self.store, authorities, ME, per_second=10_000.0), handlers
        )
        v1.add_NodeServiceServicer_to_server(NodeService(self.store, self.live), handlers)
        v1.add_DeploymentServiceServicer_to_server(
            DeploymentService(self.store, self.live, catalog, clock=clock.now), handlers
        )
        v1.add_InstanceServiceServicer_to_server(InstanceService(self.store, self.live), handlers)
        v1.add_AgentServiceServicer_to_server(
            AgentService(self.store, self.live, authorities, settings, ME, clock=clock.now), handlers
        )
        self._people = methods.guarded(self.loop, Guard(_caller))
        self._agents = methods.guarded(self.loop, Guard(CertificateAuthenticator(self.store, clock.now, authorities)))
        self.reconciling = self.loop.create_task(
            Reconciler(self.store, self.live, catalog, settings, clock=clock.now).run()
        )
        network.answer = self._serve

    def kill(self) -> None:
        """Nothing of it runs any more; what it committed is in its file."""
        self._network.controller_died()

    def call(
        self, method: str, request: Message, answer: Callable[[bytes], T], *, caller: Caller = OPERATOR
    ) -> asyncio.Task[T]:
        """Begin a call; its result is the acknowledgement."""
        handler = self._people[f"/motorpool.v1.{method}"]

        async def called() -> T:
            context = _Context("", caller)
            try:
                response = await handler.unary_unary(request.SerializeToString(), context)
            except grpc.aio.AbortError:
                raise context.refused() from None
            return answer(response.SerializeToString())

        return self.loop.create_task(called())

    def _serve(self, stream: Stream) -> None:
        stream.handler = self.loop.create_task(self._session(stream))

    async def _session(self, stream: Stream) -> None:
        handler = self._agents[SESSION]
        context = _Context(stream.certificate)
        try:
            asked = context.requests = requests(stream, handler.request_deserializer)
            async for message in handler.stream_stream(asked, context):
                stream.write_down(handler.response_serializer(message))
                await asyncio.sleep(0)
                while stream.unread_down >= WINDOW and not stream.controller_done:
                    await stream.drained_down.changed()
        except grpc.aio.AbortError:
            error = context.error()
            stream.ended_by_controller = lambda: stream.agent_sees(error)
        except asyncio.CancelledError:
            stream.ended_by_controller = lambda: stream.agent_sees(None)
            raise
        else:
            stream.ended_by_controller = lambda: stream.agent_sees(None)
        finally:
            if stream.broken:
                stream.ended_by_controller = None
            stream.controller_done = True


class _Handlers:
    """What a gRPC server is told of its services."""

    def __init__(self) -> None:
        self._methods: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """The same once more, in another form."""

    def add_registered_method_handlers(self, service: str, methods: dict[str, Any]) -> None:
        self._methods |= {f"/{service}/{name}": handler for name, handler in methods.items()}

    def guarded(self, loop: ProcessLoop, guard: Guard) -> dict[str, Any]:
        async def all_of_them() -> dict[str, Any]:
            return {name: await self._one(guard, name) for name in self._methods}

        return run(loop, all_of_them())

    async def _one(self, guard: Guard, method: str) -> Any:
        async def known(_details: object) -> Any:
            return self._methods[method]

        details: Any = SimpleNamespace(method=method)
        return await guard.intercept_service(known, details)


class _Context:
    """What a handler sees of its call."""

    def __init__(self, certificate: str, caller: Caller = OPERATOR) -> None:
        self.caller = caller
        self._certificate = certificate
        self._status: Any = None
        self.requests: AsyncIterator[Any] | None = None

    async def read(self) -> Any:
        assert self.requests is not None  # of a stream
        return await anext(self.requests, grpc.aio.EOF)

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [self._certificate.encode()]}

    def peer(self) -> str:
        return "ipv4:192.0.2.1:4711"

    async def abort_with_status(self, status: Any) -> NoReturn:
        self._status = status
        raise grpc.aio.AbortError

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def code(self) -> grpc.StatusCode:
        code: grpc.StatusCode = self._status.code
        return code

    def error(self) -> grpc.aio.AioRpcError:
        """Return what the caller's client raises."""
        status = self._status
        return grpc.aio.AioRpcError(
            status.code,
            grpc.aio.Metadata(),
            grpc.aio.Metadata(*status.trailing_metadata),
            details=status.details,
        )

    def refused(self) -> RefusedError:
        found = rpc_status.from_call(self.error())
        reason = ""
        for detail in found.details if found is not None else ():
            info = ErrorInfo()
            if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
                reason = info.reason
        return RefusedError(self._status.code, reason, self._status.details)


async def _caller(method: str, context: Any) -> Caller:
    assert isinstance(context, _Context)
    return context.caller
