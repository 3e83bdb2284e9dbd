"""What a failed command says and which exit code it ends with.

==== ===========================================================================================================
code meaning
==== ===========================================================================================================
0    done
1    the work itself failed: an instance in error, a wait that ran out, a fault of the controller
2    the command line or the client's configuration is wrong; nothing was sent
3    the controller cannot be reached
4    the token is missing, wrong or expired, or its role does not reach
5    the named thing does not exist
6    the state of things forbids it: it exists already, was changed meanwhile, is not empty
7    the controller refused a value
130  interrupted; a reader of the output that leaves (`| head`) ends the command with SIGPIPE, which shells show as 141
==== ===========================================================================================================
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from motorpool.v1.error_reason_pb2 import ErrorReason


class Exit(enum.IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    NOT_FOUND = 5
    CONFLICT = 6
    INVALID = 7
    INTERRUPTED = 130


class CommandError(Exception):
    """A command that failed: a paragraph for people, a reason for machines, an exit code for scripts."""

    def __init__(self, exit_code: Exit, reason: str, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.reason = reason
        self.message = message


_EXITS = {
    grpc.StatusCode.UNAVAILABLE: Exit.UNREACHABLE,
    grpc.StatusCode.UNAUTHENTICATED: Exit.REFUSED,
    grpc.StatusCode.PERMISSION_DENIED: Exit.REFUSED,
    grpc.StatusCode.NOT_FOUND: Exit.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: Exit.CONFLICT,
    grpc.StatusCode.ABORTED: Exit.CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: Exit.CONFLICT,
    grpc.StatusCode.INVALID_ARGUMENT: Exit.INVALID,
    grpc.StatusCode.OUT_OF_RANGE: Exit.INVALID,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exit.INVALID,
}
_BUSY = ErrorReason.Name(ErrorReason.ERROR_REASON_STORE_BUSY).removeprefix("ERROR_REASON_")

_NODE_UNREACHABLE = ErrorReason.Name(ErrorReason.ERROR_REASON_NODE_UNREACHABLE).removeprefix("ERROR_REASON_")
_NOT_LEADER = ErrorReason.Name(ErrorReason.ERROR_REASON_NOT_LEADER).removeprefix("ERROR_REASON_")
_OF_MODELS = ("HUB_", "MODEL_")


def from_rpc(error: grpc.RpcError, server: str) -> CommandError:
    """Return what a failed call to ``server`` means for the command."""
    code, details = _code(error), _details(error)
    info = _error_info(error)
    if info is not None:
        # A node or a hub out of reach is not the controller, which answered; a model that cannot be read is no state.
        elsewhere = info.reason == _NODE_UNREACHABLE or (
            info.reason.startswith(_OF_MODELS) and code is not grpc.StatusCode.NOT_FOUND
        )
        exit_code = Exit.FAILED if elsewhere or info.reason == _BUSY else _EXITS.get(code, Exit.FAILED)
        return CommandError(exit_code, info.reason, details)
    if code is grpc.StatusCode.UNAVAILABLE:
        return _unreachable(details, server)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CommandError(
            Exit.UNREACHABLE,
            "CONTROLLER_TIMEOUT",
            f"The controller at {server} did not answer in time. It may be overloaded: look at its log, and try again.",
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return CommandError(
            Exit.FAILED,
            "UNIMPLEMENTED",
            f"The controller at {server} does not know this call: it is older than this command. Upgrade it.",
        )
    return CommandError(_EXITS.get(code, Exit.FAILED), code.name, f"The controller at {server} answered: {details}")


def retry_seconds(error: grpc.RpcError) -> float | None:
    """Return when the controller asks to be called again; None where it does not."""
    for detail in _status_details(error):
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToTimedelta().total_seconds())
    return None


def leaders(error: grpc.RpcError) -> list[str] | None:
    """Return where the controller that leads is, of a call to one that does not; None of any other call."""
    info = _error_info(error)
    if info is None or info.reason != _NOT_LEADER:
        return None
    return [each for each in info.metadata.get("public_endpoints", "").split(",") if each]


def unanswered(error: grpc.RpcError) -> bool:
    """Return whether no controller answered: out of reach, or silent."""
    code = _code(error)
    return _error_info(error) is None and code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def code(error: grpc.RpcError) -> grpc.StatusCode:
    """Return a failed call's code."""
    return _code(error)


def reason(error: grpc.RpcError) -> str:
    """Return a failed call's reason; empty where it is none of the controller's."""
    info = _error_info(error)
    return "" if info is None else str(info.reason)


def faults(error: grpc.RpcError) -> list[tuple[str, str]]:
    """Return what is wrong with a refused call: fields, each with a sentence, or the one that it has for all."""
    info = _error_info(error)
    return violations(error) or [("" if info is None else info.metadata.get("field", ""), _details(error))]


def violations(error: grpc.RpcError) -> list[tuple[str, str]]:
    """Return the fields that a refused call names, with what is wrong with each; none where it names none."""
    found: list[tuple[str, str]] = []
    for detail in _status_details(error):
        request = error_details_pb2.BadRequest()
        if detail.Unpack(request):
            found += [(each.field, each.description) for each in request.field_violations]
    return found


def _unreachable(details: str, server: str) -> CommandError:
    host = server.rpartition(":")[0]
    untrusted = {
        "CERTIFICATE_VERIFY_FAILED": f"The controller at {server} shows a certificate that the authority in --ca-file "
        "did not sign, or that is past its day. Use the ca.pem of this cluster: `motorpool-controller init` names it "
        "in client.toml; if its authority was rotated since, that file is another one now.",
        "Hostname Verification Check failed": f"The certificate of the controller at {server} is not for {host}. Name "
        "the controller with --server (or MOTORPOOL_SERVER) as its certificate does.",
        "WRONG_VERSION_NUMBER": f"What listens at {server} does not speak TLS, so it is no controller's public "
        "listener. Check --server (or MOTORPOOL_SERVER), and the output of `motorpool-controller run`.",
    }
    for sign, why in untrusted.items():
        if sign in details:
            return CommandError(Exit.UNREACHABLE, "CONTROLLER_UNTRUSTED", why)
    return CommandError(
        Exit.UNREACHABLE,
        "CONTROLLER_UNREACHABLE",
        f"The controller at {server} cannot be reached: {_cause(details)}. Check that `motorpool-controller run` is up "
        "there, and that --server (or MOTORPOOL_SERVER) names it.",
    )


def _cause(details: str) -> str:
    # gRPC tells the whole way: all addresses, the last of them, and at its end what happened there.
    return details.rsplit("last error: ", 1)[-1].rsplit("Failed to connect to remote host: ", 1)[-1].rstrip(".")


def _code(error: grpc.RpcError) -> grpc.StatusCode:
    return error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN


def _details(error: grpc.RpcError) -> str:
    return (error.details() or "no details") if isinstance(error, grpc.Call) else str(error)


def _error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo | None:
    for detail in _status_details(error):
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == "motorpool":
            return info
    return None


def _status_details(error: grpc.RpcError) -> Iterable[any_pb2.Any]:
    if not isinstance(error, grpc.Call):
        return ()
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # details that do not match the status: not made by our controller
        return ()
    return () if status is None else status.details
