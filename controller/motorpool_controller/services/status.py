"""Errors to google.rpc.Status. gRPC status is made here and nowhere else."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from motorpool_controller.domain import errors
from motorpool_controller.domain.names import printable
from motorpool_controller.store.errors import FencedError, StoreBusyError, StoreError

DOMAIN = "motorpool"
NOT_LEADER = "NOT_LEADER"

log = logging.getLogger(__name__)

_CODES: Mapping[type[errors.DomainError], int] = {
    errors.NotFoundError: Code.NOT_FOUND,
    errors.AlreadyExistsError: Code.ALREADY_EXISTS,
    errors.InvalidError: Code.INVALID_ARGUMENT,
    errors.ConflictError: Code.ABORTED,
    errors.PreconditionError: Code.FAILED_PRECONDITION,
    errors.UnauthenticatedError: Code.UNAUTHENTICATED,
    errors.ForbiddenError: Code.PERMISSION_DENIED,
    errors.UnavailableError: Code.UNAVAILABLE,
    errors.OutOfRangeError: Code.OUT_OF_RANGE,
    errors.TooLargeError: Code.RESOURCE_EXHAUSTED,
    errors.RateLimitedError: Code.RESOURCE_EXHAUSTED,
    errors.DeadlineError: Code.DEADLINE_EXCEEDED,
}


def status_of(error: Exception, method: str) -> Status:
    """Return the status of a failed call. What is not the caller's fault is logged, under the trace it tells."""
    if isinstance(error, errors.DomainError):
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), Code.INTERNAL)
        later = errors.UnavailableError | errors.RateLimitedError
        retry_seconds = error.retry_seconds if isinstance(error, later) else None
        violations = error.violations if isinstance(error, errors.InvalidError) else ()
        return _status(code, error.reason, error.message, error.metadata, retry_seconds, violations)
    if isinstance(error, DecodeError):
        message = f"the request is not a valid message of {method}; make it with the protos of motorpool.v1"
        return _status(Code.INVALID_ARGUMENT, "FIELD_INVALID", message)
    if isinstance(error, StoreBusyError):
        return _status(Code.RESOURCE_EXHAUSTED, "STORE_BUSY", str(error), retry_seconds=1.0)
    if isinstance(error, FencedError):
        return _status(Code.UNAVAILABLE, NOT_LEADER, str(error), retry_seconds=1.0)
    if isinstance(error, StoreError):
        log.error("call not stored", extra={"method": method, "error": str(error)})
        return _status(Code.UNAVAILABLE, "STORE_UNAVAILABLE", str(error), retry_seconds=1.0)
    trace = secrets.token_hex(8)
    log.error("call failed", extra={"method": method, "trace": trace}, exc_info=error)
    message = f"the controller failed; its log has the cause under trace {trace}"
    return _status(Code.INTERNAL, "INTERNAL", message, {"trace": trace})


def unimplemented(method: str) -> Status:
    """Return the status of a call of a method that there is not."""
    message = f"{method} is not in this version of the controller; GetCluster tells the version"
    return _status(Code.UNIMPLEMENTED, "UNIMPLEMENTED", message)


async def abort(context: grpc.aio.ServicerContext[object, object], status: Status) -> NoReturn:
    """End a call with a status."""
    await context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status returned")


def _status(
    code: int,
    reason: str,
    message: str,
    metadata: Mapping[str, str] | None = None,
    retry_seconds: float | None = None,
    violations: Sequence[tuple[str, str]] = (),
) -> Status:
    # Of what a message repeats of its caller, or of a node, nothing is to reach anybody's terminal as a command.
    message = "\n".join(map(printable, message.split("\n")))
    told_of = {key: printable(value) for key, value in (metadata or {}).items()}
    details = [_packed(ErrorInfo(domain=DOMAIN, reason=reason, metadata=told_of))]
    if retry_seconds is not None:
        delay = Duration()
        delay.FromMilliseconds(round(retry_seconds * 1000))
        details.append(_packed(RetryInfo(retry_delay=delay)))
    if violations:
        told = [
            BadRequest.FieldViolation(field=printable(field), description=printable(what)) for field, what in violations
        ]
        details.append(_packed(BadRequest(field_violations=told)))
    return Status(code=code, message=message, details=details)


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
