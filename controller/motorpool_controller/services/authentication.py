"""Who calls, and whether that caller may: before any handler, any parsing, and any "there is no such method"."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import grpc

from motorpool_controller.domain.errors import (
    ForbiddenError,
    UnauthenticatedError,
)
from motorpool_controller.domain.names import SHOWN_CHARACTERS
from motorpool_controller.security.authority import AgentIdentity, agent_identity
from motorpool_controller.security.tokens import read_token
from motorpool_controller.services import status
from motorpool_controller.services.roles import Role, role_of
from motorpool_controller.store.restoration import Restoration
from motorpool_controller.store.store import Store

Context = grpc.aio.ServicerContext[Any, Any]
_RENEW = "/motorpool.v1.AgentService/Renew"
_SECOND = timedelta(seconds=1)
_ENROL = "enrol the machine again with a join token (`motorpool-controller token join`)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes this call: a token's holder, or a node's agent."""

    role: Role
    token_id: str = ""
    description: str = ""
    node: str = ""
    node_uid: str = ""
    certificate_serial: str = ""
    session_end: datetime | None = None
    """Until when the certificate opens sessions."""

    @property
    def actor(self) -> str:
        """Who it is in records and events, for people: the token's name, and what it is for."""
        token = f"tokens/{self.token_id}" if self.token_id else self.node
        words = " ".join(self.description.split())
        if not words:
            return token
        cut = words if len(words) <= SHOWN_CHARACTERS else f"{words[: SHOWN_CHARACTERS - 1]}…"
        return f"{token} ({cut})"


_CALLER: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """Return who makes the call that is being handled."""
    return _CALLER.get()


class Authenticator(Protocol):
    """Tells who makes a call, or raises UnauthenticatedError."""

    async def __call__(self, method: str, context: Context) -> Caller:
        """Return the caller."""
        ...


class TokenAuthenticator:
    """Callers of the public listener: they carry a bearer token."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def __call__(self, method: str, context: Context) -> Caller:
        """Return the holder of the call's bearer token."""
        given = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
        if not given:
            raise UnauthenticatedError(
                "CREDENTIALS_MISSING",
                "no credentials came with the call; send the metadata `authorization: Bearer TOKEN` with a token from "
                "`motorpool-controller token create`",
            )
        scheme, _, text = str(given[0]).partition(" ")
        bearer = read_token(text.strip()) if len(given) == 1 and scheme.lower() == "bearer" else None
        found = None if bearer is None else await self._store.beside(self._store.tokens.get, bearer.token_id)
        if bearer is None or found is None or not bearer.matches(found.secret_hash):
            raise UnauthenticatedError(
                "TOKEN_INVALID",
                "the token is malformed, unknown or revoked; make another with `motorpool-controller token`",
            )
        if found.expire_time is not None and found.expire_time <= self._clock():
            raise UnauthenticatedError(
                "TOKEN_EXPIRED",
                f"the token's time was over at {found.expire_time:%Y-%m-%d %H:%M:%S} UTC; make another with "
                "`motorpool-controller token`",
            )
        # A join token without uses left gets as far as Enroll, which knows whether it made this very node.
        return Caller(role=Role(found.role), token_id=found.token_id, description=found.description)


class CertificateAuthenticator:
    """Callers of the agents' listener: TLS has checked that the cluster's authority signed their certificate."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def __call__(self, method: str, context: Context) -> Caller:
        """Return the node whose certificate the connection was made with."""
        pems = context.auth_context().get("x509_pem_cert", ())
        identity = next((found for pem in pems if (found := agent_identity(pem)) is not None), None)
        if identity is None:
            raise UnauthenticatedError("CREDENTIALS_MISSING", f"the client certificate names no node; {_ENROL}")
        view = self._store.view
        # A fleet is thousands, a session is one call: no index for this.
        node = next((node for node in view.nodes.values() if node.uid == identity.node_uid), None)
        if identity.cluster_id != view.cluster_id or node is None:
            raise UnauthenticatedError(
                "CERTIFICATE_REVOKED",
                f"node {identity.node_uid} is not one of cluster {view.cluster_id}, or was deleted; {_ENROL}",
            )
        if identity.serial not in node.certificate_serials and not _forgotten(identity, view.restoration):
            raise UnauthenticatedError(
                "CERTIFICATE_REVOKED",
                f"certificate {identity.serial} of {node.name} was replaced by a later enrolment; {_ENROL}",
            )
        now = self._clock()
        if identity.renew_end <= now:
            raise UnauthenticatedError(
                "CERTIFICATE_EXPIRED",
                f"the certificate of {node.name} could be renewed until "
                f"{identity.renew_end:%Y-%m-%d %H:%M:%S} UTC; {_ENROL}",
            )
        if identity.session_end <= now and method != _RENEW:
            raise UnauthenticatedError(
                "CERTIFICATE_EXPIRED",
                f"the certificate of {node.name} was good until {identity.session_end:%Y-%m-%d %H:%M:%S} UTC; "
                "call Renew, then open a new session",
            )
        return Caller(
            role=Role.AGENT,
            node=node.name,
            node_uid=node.uid,
            certificate_serial=identity.serial,
            session_end=identity.session_end,
        )


def _forgotten(identity: AgentIdentity, restored: Restoration | None) -> bool:
    """Return whether a certificate may be one that was given after the backup from which the store was restored.

    It is signed by our authority for a node that we know. Had it been revoked meanwhile, that is forgotten, too.
    """
    # A certificate's times are whole seconds.
    return restored is not None and restored.backup_time - _SECOND <= identity.issue_time <= restored.restore_time


class Guard(grpc.aio.ServerInterceptor):
    """Lets a call through to its handler once its caller is known and may; turns errors into statuses."""

    def __init__(self, authenticate: Authenticator) -> None:
        self._authenticate = authenticate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the call's handler, guarded."""
        return self._guarded(details.method, await continuation(details))

    # The stubs know a handler's functions as those of the synchronous server.
    def _guarded(self, method: str, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        if handler is None:
            # On the wire every kind of call is a stream of messages both ways.
            return grpc.stream_stream_rpc_method_handler(self._one_answer(method, _unknown(method)))
        serialize = handler.response_serializer
        if handler.unary_unary is not None:
            parse, unary = handler.request_deserializer, handler.unary_unary
            # Parsed by us, so that strangers cannot make us parse, and what cannot be parsed gets its reason.
            return grpc.unary_unary_rpc_method_handler(
                self._one_answer(method, lambda raw, context: unary(parse(raw), context)),
                response_serializer=serialize,
            )
        if handler.unary_stream is not None:
            parse, stream = handler.request_deserializer, handler.unary_stream
            return grpc.unary_stream_rpc_method_handler(
                self._many_answers(method, lambda raw, context: stream(parse(raw), context)),
                response_serializer=serialize,
            )
        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(
                self._one_answer(method, handler.stream_unary),
                request_deserializer=handler.request_deserializer,
                response_serializer=serialize,
            )
        return grpc.stream_stream_rpc_method_handler(
            self._many_answers(method, handler.stream_stream),
            request_deserializer=handler.request_deserializer,
            response_serializer=serialize,
        )

    def _one_answer(
        self, method: str, behaviour: Callable[[Any, Context], Any]
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def guarded(request: Any, context: Context) -> Any:
            try:
                await self._admit(method, context)
                return await behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001  # whatever a handler raises becomes a status
                return await status.abort(context, status.status_of(error, method))

        return guarded

    def _many_answers(
        self, method: str, behaviour: Callable[[Any, Context], Any]
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                await self._admit(method, context)
                answers = behaviour(request, context)
                if inspect.isasyncgen(answers):
                    # A caller who leaves ends us in the middle; the handler ends then, not when it is collected.
                    async with aclosing(answers):
                        async for answer in answers:
                            yield answer
                else:
                    # It writes to the context by itself.
                    await answers
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001  # whatever a handler raises becomes a status
                await status.abort(context, status.status_of(error, method))

        return guarded

    async def _admit(self, method: str, context: Context) -> None:
        found = await self._authenticate(method, context)
        least = role_of(method)
        if least is None and found.role.reaches(Role.READER):
            await status.abort(context, status.unimplemented(method))
        if least is None or not found.role.reaches(least):
            raise ForbiddenError(
                "ROLE_INSUFFICIENT",
                f"{method} asks for role {least or 'none that there is'}, and the caller's is {found.role}"
                + (
                    "; only an agent calls it, on the agents' listener"
                    if least is Role.AGENT
                    else "; use another token"
                ),
                metadata={"method": method, "role": found.role},
            )
        _CALLER.set(found)


def _unknown(method: str) -> Callable[[Any, Context], Awaitable[None]]:
    async def answer(_request: Any, context: Context) -> None:
        await status.abort(context, status.unimplemented(method))

    return answer
