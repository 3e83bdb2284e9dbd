import logging

import pytest
from google.protobuf.message import DecodeError
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from motorpool import v1
from motorpool_controller.domain import errors
from motorpool_controller.services.status import status_of, unimplemented
from motorpool_controller.store.errors import DatabaseLostError, FencedError, StoreBusyError

METHOD = "/motorpool.v1.NodeService/GetNode"


def info_of(status: Status) -> ErrorInfo:
    infos = [detail for detail in status.details if detail.Is(ErrorInfo.DESCRIPTOR)]
    info = ErrorInfo()
    assert len(infos) == 1
    assert infos[0].Unpack(info)
    return info


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.NotFoundError, Code.NOT_FOUND),
        (errors.AlreadyExistsError, Code.ALREADY_EXISTS),
        (errors.InvalidError, Code.INVALID_ARGUMENT),
        (errors.ConflictError, Code.ABORTED),
        (errors.PreconditionError, Code.FAILED_PRECONDITION),
        (errors.UnauthenticatedError, Code.UNAUTHENTICATED),
        (errors.ForbiddenError, Code.PERMISSION_DENIED),
        (errors.OutOfRangeError, Code.OUT_OF_RANGE),
        (errors.TooLargeError, Code.RESOURCE_EXHAUSTED),
    ],
)
def test_domain_error_keeps_its_words(kind: type[errors.DomainError], code: int) -> None:
    """
    Each kind of domain error has its code, and one ErrorInfo with its reason and facts.
    """
    status = status_of(kind("NOT_FOUND", "what, which, what to do", metadata={"field": "name"}), METHOD)
    info = info_of(status)

    assert (code, "what, which, what to do") == (status.code, status.message)
    assert ("motorpool", "NOT_FOUND", {"field": "name"}) == (info.domain, info.reason, dict(info.metadata))


def test_fields_at_fault_are_told_one_by_one() -> None:
    """
    Beside the ErrorInfo stands a BadRequest, for programs that show each fault where it is.
    """
    told = [("spec.replicas", "-1 is negative"), ("spec.env", "PATH cannot be set")]
    status = status_of(errors.InvalidError("FIELD_INVALID", "two things", violations=told), METHOD)
    request = BadRequest()

    assert "FIELD_INVALID" == info_of(status).reason
    assert status.details[1].Unpack(request)
    assert told == [(each.field, each.description) for each in request.field_violations]


def test_every_kind_of_domain_error_has_a_code() -> None:
    """
    No domain error falls through to INTERNAL.
    """
    codes = {kind: status_of(kind("X", "x"), METHOD).code for kind in errors.DomainError.__subclasses__()}

    assert [] == [kind for kind, code in codes.items() if code == Code.INTERNAL]


def test_unavailable_says_when() -> None:
    """
    An error that passes says when to try again.
    """
    status = status_of(errors.UnavailableError("BUSY", "later", retry_seconds=1.5), METHOD)
    retry = RetryInfo()

    assert Code.UNAVAILABLE == status.code
    assert [True] == [detail.Unpack(retry) for detail in status.details if detail.Is(RetryInfo.DESCRIPTOR)]
    assert retry.retry_delay.ToMilliseconds() == 1_500


def test_fault_of_ours_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """
    An unexpected exception is told as INTERNAL with a trace, under which the log has the cause; its text is not told.
    """
    with caplog.at_level(logging.ERROR):
        status = status_of(ValueError("secret detail"), METHOD)
    info = info_of(status)
    (record,) = caplog.records

    assert (Code.INTERNAL, "INTERNAL") == (status.code, info.reason)
    assert "secret detail" not in str(status)
    assert record.__dict__["trace"] == info.metadata["trace"]
    assert info.metadata["trace"] in status.message
    assert record.exc_info is not None


def test_store_that_cannot_write_is_unavailable() -> None:
    """
    A change that could not be written may be tried again, here or where another controller leads.
    """
    lost = status_of(DatabaseLostError("it is away"), METHOD)
    fenced = status_of(FencedError("another controller took over"), METHOD)

    assert (Code.UNAVAILABLE, "STORE_UNAVAILABLE") == (lost.code, info_of(lost).reason)
    assert (Code.UNAVAILABLE, "NOT_LEADER") == (fenced.code, info_of(fenced).reason)


def test_busy_store_says_when_to_come_again() -> None:
    """
    A call for which there is no room is told so, and when it may be made again.
    """
    status = status_of(StoreBusyError("too many wait"), METHOD)
    retry = RetryInfo()

    assert (Code.RESOURCE_EXHAUSTED, "STORE_BUSY") == (status.code, info_of(status).reason)
    assert any(detail.Unpack(retry) for detail in status.details)
    assert 1 == retry.retry_delay.seconds


def test_reasons_are_documented() -> None:
    """
    Every reason made here stands in the protos' ErrorReason.
    """
    made = [
        status_of(DecodeError("x"), METHOD),
        status_of(FencedError("x"), METHOD),
        status_of(StoreBusyError("x"), METHOD),
        status_of(ValueError("x"), METHOD),
        unimplemented(METHOD),
    ]

    documented = {name.removeprefix("ERROR_REASON_") for name in v1.ErrorReason.DESCRIPTOR.values_by_name}
    assert {info_of(status).reason for status in made} <= documented


@pytest.mark.promise("P9")
def test_what_a_message_repeats_is_no_command_to_a_terminal() -> None:
    """
    Characters that terminals obey, wherever a message has them from, are not sent on; line breaks of ours are.
    """
    error = errors.InvalidError(
        "FIELD_INVALID", "not \x1b[31mred\nnext", metadata={"field": "a\x07"}, violations=[("b\x1b", "c\r")]
    )
    status = status_of(error, METHOD)

    assert "not \ufffd[31mred\nnext" == status.message
    info, request = ErrorInfo(), BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(request)
    assert {"field": "a\ufffd"} == dict(info.metadata)
    assert [("b\ufffd", "c\ufffd")] == [(each.field, each.description) for each in request.field_violations]
