"""Lets calls through to their handlers: before any handler, any parsing, and any "there is no such method"."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, nullcontext
from datetime import datetime
from typing import Any, NoReturn, Protocol

import grpc
from google.protobuf.message import Message

from motorpool_controller.domain.controllers import Controller
from motorpool_controller.domain.errors import DeadlineError, DomainError, ForbiddenError
from motorpool_controller.services import status
from motorpool_controller.services.audit import AuditLog, Record, is_audited, target_of
from motorpool_controller.services.authentication import Authenticator
from motorpool_controller.services.callers import Caller, Context, address_of, set_caller
from motorpool_controller.services.calls import UNKNOWN, Counted
from motorpool_controller.services.long_calls import LongCalls
from motorpool_controller.services.roles import Role, role_of
from motorpool_controller.store.store import utc_now

CALL_SECONDS = 60.0
"""How long a call with one request and one answer may take, whatever its caller would wait."""
_ID_CHARACTERS = 64


class Answering(Protocol):
    """Tells whether this controller is the one that may answer: there may be several."""

    @property
    def certain(self) -> bool:
        """Whether it is, as far as is known without asking."""
        ...

    async def confirm(self, method: str) -> None:
        """Return once it is certain; raise who is."""
        ...

    async def instead(self, error: Exception) -> Exception:
        """Return what a call is told that failed: who is, where it failed because this controller is not any more."""
        ...

    def succeeded(self, leader: Controller | None) -> None:
        """Take in which controller is, now that this one is not any more."""
        ...


class _Call:
    """What is known of a call so far."""

    __slots__ = ("audited", "method", "request", "who")

    def __init__(self, method: str, audited: bool) -> None:  # made here alone
        self.method = method
        self.audited = audited
        self.who: Caller | None = None
        self.request: Message | None = None


class Guard(grpc.aio.ServerInterceptor):
    """Lets a call through to its handler once its caller is known and may; turns errors into statuses."""

    def __init__(
        self,
        authenticate: Authenticator,
        long_calls: LongCalls | None = None,
        *,
        call_seconds: float = CALL_SECONDS,
        audit: AuditLog | None = None,
        clock: Callable[[], datetime] = utc_now,
        answering: Answering | None = None,
    ) -> None:
        self._answering = answering
        self._authenticate = authenticate
        self._audit = audit
        self._clock = clock
        self._long_calls = long_calls
        self._call_seconds = call_seconds
        self._known: dict[str, tuple[object, grpc.RpcMethodHandler[Any, Any]]] = {}
        """Handlers of methods that there are, each with the guarded one: a fleet's sessions are as many calls."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the call's handler, guarded."""
        method, handler = details.method, await continuation(details)
        if handler is None:
            # On the wire every kind of call is a stream of messages both ways.
            return grpc.stream_stream_rpc_method_handler(self._one_answer(method, _unknown(method), label=UNKNOWN))
        known = self._known.get(method)
        if known is None or known[0] is not handler:
            known = self._known[method] = (handler, self._guarded(method, handler))
        return known[1]

    # The stubs know a handler's functions as those of the synchronous server.
    def _guarded(self, method: str, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        serialize = handler.response_serializer
        if handler.unary_unary is not None:
            parse, unary = handler.request_deserializer, handler.unary_unary

            # Parsed by us, so that strangers cannot make us parse, and what cannot be parsed gets its reason.
            def parsed(raw: bytes, context: Context, call: _Call) -> Any:
                request = parse(raw)
                call.request = request if call.audited else None
                return unary(request, context)

            return grpc.unary_unary_rpc_method_handler(self._one_answer(method, parsed), response_serializer=serialize)
        if handler.unary_stream is not None:
            parse, stream = handler.request_deserializer, handler.unary_stream
            return grpc.unary_stream_rpc_method_handler(
                self._many_answers(method, lambda raw, context: stream(parse(raw), context), serialize),
                response_serializer=_unless_bytes(serialize),
            )
        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(
                self._one_answer(
                    method, lambda requests, context, _: handler.stream_unary(requests, context), streams=True
                ),
                request_deserializer=handler.request_deserializer,
                response_serializer=serialize,
            )
        return grpc.stream_stream_rpc_method_handler(
            self._many_answers(method, handler.stream_stream, serialize),
            request_deserializer=handler.request_deserializer,
            response_serializer=_unless_bytes(serialize),
        )

    def _one_answer(
        self,
        method: str,
        behaviour: Callable[[Any, Context, _Call], Any],
        *,
        streams: bool = False,
        label: str = "",
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        audited = is_audited(method)
        label = label or method.removeprefix("/")

        async def guarded(request: Any, context: Context) -> Any:
            with Counted(label, context, timed=not streams):
                return await answered(request, context)

        async def answered(request: Any, context: Context) -> Any:
            call = _Call(method, audited)
            try:
                async with self._timed(method, streams=streams):
                    who = await self._admit(call, context)
                    with self._counted(who, streams=streams):
                        answer = await behaviour(request, context, call)
            except grpc.aio.AbortError:
                raise
            except asyncio.CancelledError:
                self._write_down(call, context, "CANCELLED")
                raise
            except Exception as error:  # noqa: BLE001  # whatever a handler raises becomes a status
                return await self._refuse(call, context, error)
            self._write_down(call, context, "OK")
            return answer

        return guarded

    def _many_answers(
        self, method: str, behaviour: Callable[[Any, Context], Any], serialize: Callable[[Any], bytes]
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
            with Counted(method.removeprefix("/"), context, timed=False):
                call = _Call(method, audited=False)
                try:
                    who = await self._admit(call, context)
                    with self._counted(who, streams=True):
                        answers = behaviour(request, context)
                        if inspect.isasyncgen(answers):
                            # A caller who leaves ends us in the middle; it ends then, not once it is collected.
                            async with aclosing(answers):
                                async for answer in answers:
                                    await self._confirm(method)
                                    # gRPC keeps what it sent until there is more: of a session, for hours. As bytes
                                    # that is a tenth of what a message takes that was put together.
                                    raw = serialize(answer)
                                    del answer
                                    yield raw
                        else:
                            # It writes to the context by itself.
                            await answers
                except grpc.aio.AbortError:
                    raise
                except Exception as error:  # noqa: BLE001  # whatever a handler raises becomes a status
                    await self._refuse(call, context, error)

        return guarded

    async def _refuse(self, call: _Call, context: Context, error: Exception) -> NoReturn:
        if self._answering is not None:
            error = await self._answering.instead(error)
        reason = error.reason if isinstance(error, DomainError) else type(error).__name__
        self._write_down(call, context, reason)
        await status.abort(context, status.status_of(error, call.method))

    def _write_down(self, call: _Call, context: Context, result: str) -> None:
        if self._audit is None:
            return
        who, request = call.who, call.request
        record = Record(
            time=self._clock(),
            method=call.method.removeprefix("/motorpool.v1."),
            result=result,
            actor="" if who is None else who.actor,
            role="" if who is None else who.role.value,
            address=address_of(context.peer()),
            target="" if request is None else target_of(request),
            request_id="" if request is None else getattr(request, "request_id", "")[:_ID_CHARACTERS],
            dry_run=getattr(request, "validate_only", False),
        )
        if call.audited or record.denied:
            self._audit.write(record)

    @asynccontextmanager
    async def _timed(self, method: str, *, streams: bool) -> AsyncIterator[None]:
        timer = asyncio.timeout(None if streams else self._call_seconds)
        try:
            async with timer:
                yield
        except TimeoutError:
            if not timer.expired():
                raise
            raise DeadlineError(
                "CALL_TIMEOUT",
                f"{method} was not answered within {self._call_seconds:g} s, and was ended; ask for less at once, or "
                "try again when the controller has less to do",
            ) from None

    def _counted(self, who: Caller, *, streams: bool) -> AbstractContextManager[object]:
        return self._long_calls.entered(who) if streams and self._long_calls is not None else nullcontext()

    async def _admit(self, call: _Call, context: Context) -> Caller:
        method = call.method
        found = call.who = await self._authenticate(method, context)
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
        await self._confirm(method)
        set_caller(found)
        return found

    async def _confirm(self, method: str) -> None:
        """Say nothing as the leader that another controller may have become since."""
        if self._answering is not None and not self._answering.certain:
            await self._answering.confirm(method)


def _unless_bytes(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return a serializer for handlers of both kinds: those whose answers come as bytes, and those that write."""
    return lambda answer: answer if isinstance(answer, bytes) else serialize(answer)


def _unknown(method: str) -> Callable[[Any, Context, _Call], Awaitable[None]]:
    async def answer(_request: Any, context: Context, _call: _Call) -> None:
        await status.abort(context, status.unimplemented(method))

    return answer
