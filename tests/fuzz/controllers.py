"""A controller for fuzzers: real store, real services, real guard; only gRPC's transport is left out."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import grpc
import grpc.aio
from cryptography.hazmat.primitives.asymmetric import ec
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo

from motorpool import v1
from motorpool_controller import config
from motorpool_controller.catalog.cache import FactsCache
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.catalog.hubs import HUBS
from motorpool_controller.leading import public_services
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.services.agents import AgentService
from motorpool_controller.services.authentication import CertificateAuthenticator
from motorpool_controller.services.callers import Caller
from motorpool_controller.services.callers import Context as CallContext
from motorpool_controller.services.duties import _ADDERS
from motorpool_controller.services.guard import Guard
from motorpool_controller.services.initialization import initialise_data_dir
from motorpool_controller.services.roles import Role
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store, utc_now
from tests.controller.agent_client import PROFILE, observed
from tests.controller.requests import csr
from tests.controller.rows import ME
from tests.fuzz.wire import joined, split

ADMIN = Caller(role=Role.ADMIN, token_id="fuzz", description="fuzzer")
ANSWERS = 4
"""How many answers of a stream are waited for."""
SECONDS = 0.02
"""How long for the next one."""
SLOWEST_SECONDS = 5.0
CODES = {code.value[0] for code in grpc.StatusCode}


class Controller:
    """One controller, with a node that has been in session, in a folder that goes with it."""

    def __init__(self) -> None:
        # No hub is asked, whatever a request names.
        os.environ["HF_HUB_OFFLINE"] = "1"
        self._folder = Path(tempfile.mkdtemp(prefix="motorpool-fuzz-"))
        self._loop = asyncio.new_event_loop()
        self._handlers: dict[str, Any] = {}
        self._loop.run_until_complete(self._begin())

    def close(self) -> None:
        """Leave nothing behind."""
        self._loop.run_until_complete(self._end())
        self._loop.close()
        shutil.rmtree(self._folder)

    @property
    def methods(self) -> list[str]:
        """Every method of every service, by name."""
        return sorted(self._handlers)

    def call(self, method: str, content: bytes) -> None:
        """Make one call with any bytes (a stream's messages are in them); raise where the controller failed."""
        context = Context(self.certificate if "AgentService" in method else "")
        try:
            self._loop.run_until_complete(asyncio.wait_for(self._call(method, content, context), SLOWEST_SECONDS))
        except grpc.aio.AbortError:
            context.check(method)

    async def _call(self, method: str, content: bytes, context: Context) -> None:
        handler = self._handlers[method]
        if handler.unary_unary is not None:
            handler.response_serializer(await handler.unary_unary(content, context))
            return
        if handler.stream_unary is not None:
            requests = _messages(handler, content)
            with suppress(TimeoutError):
                async with asyncio.timeout(SECONDS):
                    await handler.stream_unary(requests, context)
            return
        given = content if handler.unary_stream is not None else context.asked(_messages(handler, content))
        async with aclosing((handler.unary_stream or handler.stream_stream)(given, context)) as answers:
            with suppress(TimeoutError):
                # In this very task: who calls is known to it alone.
                async with asyncio.timeout(SECONDS):
                    for _ in range(ANSWERS):
                        answer = await anext(answers, None)
                        if answer is None:
                            return
                        handler.response_serializer(answer)

    async def _begin(self) -> None:
        settings = config.load(
            {"data_dir": self._folder / "controller", "enrolments_per_second": "100000"}, environment={}
        )
        initialise_data_dir(settings)
        self._store = await Store.open(settings.database)
        self._live = Live()
        authorities = Authorities(settings.data_dir, self._store.view.cluster_id)
        self._catalog = Catalog(HUBS, FactsCache(settings.catalog))
        public = public_services(settings, self._store, self._live, authorities, self._catalog, ME)
        agents = AgentService(self._store, self._live, authorities, settings, ME)
        self._join = Caller(role=Role.JOIN, token_id=self._store.tokens.list()[0].token_id)
        await self._guard(public, Guard(self._who))
        await self._guard([agents], Guard(CertificateAuthenticator(self._store, utc_now, authorities)))
        await self._furnish()

    async def _end(self) -> None:
        await self._catalog.close()
        await self._store.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _who(self, method: str, context: CallContext) -> Caller:
        return self._join if method.endswith("/Enroll") else ADMIN

    async def _guard(self, services: list[Any], guard: Guard) -> None:
        found: Any = _Found()
        for service in services:
            next(add for kind, add in _ADDERS.items() if isinstance(service, kind))(service, found)
        for name, handler in found.methods.items():

            async def known(_details: object, handler: Any = handler) -> Any:
                return handler

            details: Any = SimpleNamespace(method=name)
            self._handlers[name] = await guard.intercept_service(known, details)

    async def _furnish(self) -> None:
        """Have a node, a backend and a deployment, so that requests that name them get further."""
        enrol = v1.EnrollRequest(node_id="a", csr_pem=csr(ec.generate_private_key(ec.SECP256R1())), enrollment_id="e")
        answer = await self._answer("EnrollmentService/Enroll", enrol)
        self.certificate, self.node_uid = answer.certificate_pem, answer.node_uid
        self.cluster_id = self._store.view.cluster_id
        context = Context(self.certificate)
        await self._call("/motorpool.v1.AgentService/Session", self.session(observed(PROFILE)), context)
        spec = v1.DeploymentSpec(model=v1.ModelSource(local_path="/m.gguf"), backend="llama_cpp")
        await self._answer(
            "DeploymentService/CreateDeployment",
            v1.CreateDeploymentRequest(deployment_id="chat", deployment=v1.Deployment(spec=spec)),
        )

    async def _answer(self, method: str, request: Any) -> Any:
        handler = self._handlers[f"/motorpool.v1.{method}"]
        return await handler.unary_unary(request.SerializeToString(), Context(""))

    @property
    def next_epoch(self) -> int:
        """The epoch that the node's next session will have."""
        return self._store.view.nodes["nodes/a"].session_epoch + 1

    def session(self, *objects: v1.ObservedObject) -> bytes:
        """Return a session's messages up to its first full state."""
        state = v1.SessionRequest(
            session_epoch=self.next_epoch, observed=v1.ObservedState(full=True, objects=list(objects))
        )
        return joined([self.hello(), state.SerializeToString()])

    def hello(self) -> bytes:
        """Return the Hello of the node's next session."""
        return v1.SessionRequest(
            hello=v1.Hello(
                cluster_id=self._store.view.cluster_id,
                node_uid=self.node_uid,
                boot_id="boot",
                agent_instance_id="agent",
                agent_version="0.1.0",
                protocol_min=1,
                protocol_max=1,
                host=v1.Host(hostname="a", os="linux", architecture="amd64", cpu_count=8, memory_bytes=1 << 34),
                address="127.0.0.1",
            )
        ).SerializeToString()


class Context:
    """What a handler sees of its call."""

    def __init__(self, certificate: str) -> None:
        self._certificate = certificate
        self._status: Any = None
        self._requests: AsyncIterator[Any] | None = None

    def asked(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Have these read, one way or the other."""
        self._requests = requests
        return requests

    async def read(self) -> Any:
        """Return the next request."""
        assert self._requests is not None  # of a stream
        return await anext(self._requests, grpc.aio.EOF)

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [self._certificate.encode()]}

    def peer(self) -> str:
        return "ipv4:192.0.2.1:4711"

    def invocation_metadata(self) -> tuple[()]:
        return ()

    async def abort_with_status(self, status: Any) -> NoReturn:
        self._status = status
        raise grpc.aio.AbortError

    def code(self) -> grpc.StatusCode:
        """What the caller is told."""
        code: grpc.StatusCode = self._status.code
        return code

    def check(self, method: str) -> None:
        """Raise where the refusal is a fault of the controller, or is none that a caller can act on."""
        status = self._status
        assert status.code is not grpc.StatusCode.INTERNAL, f"{method} failed: {status.details}"
        details = dict(status.trailing_metadata)["grpc-status-details-bin"]
        assert len(details) < 16_384, f"{method}: an error is larger than a trailer may be"
        assert ErrorInfo.DESCRIPTOR.full_name.encode() in details, f"{method}: an error without its reason"
        assert status.code.value[0] in CODES, Code.Name(status.code.value[0])
        assert all(line.isprintable() for line in status.details.split("\n")), f"{method}: {status.details!r}"


class _Found:
    """What a gRPC server is told of its services."""

    def __init__(self) -> None:
        self.methods: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """The same once more, in another form."""

    def add_registered_method_handlers(self, service: str, methods: dict[str, Any]) -> None:
        self.methods |= {f"/{service}/{name}": handler for name, handler in methods.items()}


async def _messages(handler: Any, content: bytes) -> AsyncIterator[Any]:
    for part in split(content):
        yield handler.request_deserializer(part)
    # The other side has said what it had to say, and stays.
    await asyncio.Event().wait()
