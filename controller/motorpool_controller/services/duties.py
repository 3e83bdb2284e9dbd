"""What both listeners do at present: serve as the leader does, or say who leads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
from google.protobuf import descriptor_pool

from motorpool import v1
from motorpool_controller.domain.controllers import Controller
from motorpool_controller.domain.errors import DomainError, UnauthenticatedError, UnavailableError
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.security.authority import agent_identity
from motorpool_controller.services.audit import AuditLog
from motorpool_controller.services.authentication import (
    Authenticator,
    CertificateAuthenticator,
    TokenAuthenticator,
    Tokens,
)
from motorpool_controller.services.callers import Caller, Context
from motorpool_controller.services.guard import Answering, Guard
from motorpool_controller.services.long_calls import LongCalls
from motorpool_controller.services.roles import FOREIGN, Role
from motorpool_controller.services.status import NOT_LEADER
from motorpool_controller.store.errors import FencedError, ResignedError, StoreError
from motorpool_controller.store.store import Store

RETRY_SECONDS = 1.0
"""When to ask again who leads, of one that does not."""
SOON_SECONDS = 0.25
"""The same, where nobody leads: those that stand by wait for that, and one is about to."""

CONFIRM_SECONDS = 2.0
"""How long a call waits until it is certain who leads, where it may be another one."""

_ADDERS: Mapping[type, Callable[[Any, Any], None]] = {
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
SERVICES = sorted(
    str(descriptor_pool.Default().FindServiceByName(f"motorpool.v1.{kind.__name__.removesuffix('Servicer')}").full_name)
    for kind in _ADDERS
)
"""Of both listeners, whatever is served at present."""


class Handlers(grpc.GenericRpcHandler):
    """Finds the handlers of services; generated code takes it for a server to add them to."""

    def __init__(self, services: Sequence[object] = ()) -> None:
        self._handlers: list[grpc.GenericRpcHandler] = []
        for service in services:
            _ADDERS[_servicer(service)](service, self)

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Add a service's handlers."""
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Do nothing: they were added already."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return a call's handler, or None."""
        return next((found for each in self._handlers if (found := each.service(details)) is not None), None)


@dataclass(frozen=True, slots=True)
class Post:
    """What one listener does: who is let in, to what."""

    guard: Guard
    handlers: Handlers
    long_calls: LongCalls


@dataclass(frozen=True, slots=True)
class Duty:
    """What a controller does at present, on both listeners."""

    public: Post
    agents: Post
    store: Store | None
    """What a leader serves; None of one that stands by."""
    answering: Answering

    def end(self, leader: Controller | None) -> None:
        """Send to the one who leads now whoever was told to wait for it, and all streams in progress."""
        self.answering.succeeded(leader)
        self.cut(not_leader(leader))

    def cut(self, why: DomainError) -> None:
        """End all streams in progress."""
        for post in (self.public, self.agents):
            post.long_calls.end(why)


def leading(
    store: Store,
    authorities: Authorities,
    *,
    public: Sequence[object],
    agents: Sequence[object],
    audit: AuditLog | None,
    clock: Callable[[], datetime],
) -> Duty:
    """Return the leader's duty: these services, on the public listener and on the agents'."""
    answering = _Leading(store)

    def post(authenticate: TokenAuthenticator | CertificateAuthenticator, services: Sequence[object]) -> Post:
        calls = LongCalls(authenticate)
        guard = Guard(authenticate, calls, audit=audit, clock=clock, answering=answering)
        return Post(guard, Handlers(services), calls)

    return Duty(
        public=post(TokenAuthenticator(store, clock), public),
        agents=post(CertificateAuthenticator(store, clock, authorities), agents),
        store=store,
        answering=answering,
    )


def standing_by(
    tokens: Tokens,
    cluster_id: str,
    leader: Callable[[], Controller | None],
    *,
    audit: AuditLog | None,
    clock: Callable[[], datetime],
) -> Duty:
    """Return the duty of one that stands by: whoever may call it at all is told who leads."""
    answering = _StandingBy(leader)
    people = TokenAuthenticator(tokens, clock)

    def post(authenticate: Authenticator) -> Post:
        calls = LongCalls(people)
        return Post(Guard(authenticate, calls, audit=audit, clock=clock, answering=answering), Handlers(), calls)

    return Duty(public=post(people), agents=post(_OfCluster(cluster_id)), store=None, answering=answering)


def not_leader(leader: Controller | None) -> UnavailableError:
    """Return the error of whoever does not lead; it tells machines where the leader is."""
    if leader is None:
        message = "this controller stands by, and no other one leads at the moment; ask again"
    else:
        message = f"this controller stands by; {', '.join(leader.public_endpoints)} leads"
    return UnavailableError(
        NOT_LEADER,
        message,
        retry_seconds=RETRY_SECONDS if leader else SOON_SECONDS,
        metadata={
            "public_endpoints": ",".join(leader.public_endpoints if leader else ()),
            "agent_endpoints": ",".join(leader.agent_endpoints if leader else ()),
        },
    )


def uncertain() -> UnavailableError:
    """Return the error of a leader that cannot ask the database whether it is one."""
    return UnavailableError(
        "STORE_UNAVAILABLE",
        "this controller does not reach the database, and another one may lead: ask the others, or this one again",
        retry_seconds=RETRY_SECONDS,
    )


class _Leading:
    """A leader answers while it is certain to be one. After that it says who is, as soon as that is known."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._successor: asyncio.Future[Controller | None] = asyncio.get_running_loop().create_future()

    @property
    def certain(self) -> bool:
        return self._store.tenure.certain

    async def confirm(self, method: str) -> None:
        if _of_others(method):
            return
        try:
            async with asyncio.timeout(CONFIRM_SECONDS if self._store.others else None):
                await self._store.confirm()
        except TimeoutError:
            raise uncertain() from None
        except StoreError as error:
            raise await self.instead(error) from error

    async def instead(self, error: Exception) -> Exception:
        if isinstance(error, FencedError | ResignedError):
            return not_leader(await asyncio.shield(self._successor))
        return error

    def succeeded(self, leader: Controller | None) -> None:
        self._successor.set_result(leader)


class _StandingBy:
    """One that stands by answers what is not ours: whether it is well, and what there is to call."""

    certain = False

    def __init__(self, leader: Callable[[], Controller | None]) -> None:
        self._leader = leader

    async def confirm(self, method: str) -> None:
        if not _of_others(method):
            raise not_leader(self._leader())

    async def instead(self, error: Exception) -> Exception:
        return error

    def succeeded(self, leader: Controller | None) -> None:
        """Do nothing: who leads is known all the time."""


class _OfCluster:
    """Callers of the agents' listener, of whom one that stands by knows what their certificates say, and no more.

    It suffices for telling them who leads: TLS has checked that the cluster's authority signed them.
    """

    def __init__(self, cluster_id: str) -> None:
        self._cluster_id = cluster_id

    async def __call__(self, method: str, context: Context) -> Caller:
        pems = context.auth_context().get("x509_pem_cert", ())
        identity = next((found for each in pems if (found := agent_identity(each))), None)
        if identity is None or identity.cluster_id != self._cluster_id:
            raise UnauthenticatedError("CREDENTIALS_MISSING", "the client certificate names no node of this cluster")
        return Caller(role=Role.AGENT, node_uid=identity.node_uid, certificate_serial=identity.serial)


def _of_others(method: str) -> bool:
    return method.removeprefix("/").partition("/")[0] in FOREIGN


def _servicer(service: object) -> type:
    found = next((kind for kind in _ADDERS if isinstance(service, kind)), None)
    if found is None:
        raise TypeError(f"{type(service).__name__} is none of the services of motorpool.v1")
    return found
