"""How a call changes the store: checked only, or carried out, once for each request id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from motorpool_controller.domain.errors import ConflictError
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.node import etag
from motorpool_controller.store.requests import once
from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction

M = TypeVar("M", bound=Message)


class Mutation(Protocol):
    """A request that may be a dry run, and may be repeated."""

    @property
    def validate_only(self) -> bool:
        """Check only."""

    @property
    def request_id(self) -> str:
        """Same id, same answer."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802  # protobuf's name
        """Return the request as bytes."""


class _Checked(Exception):  # noqa: N818  # no error: it takes the changes of a dry run back
    def __init__(self, answer: Message) -> None:
        self.answer = answer


async def mutate(store: Store, request: Mutation, answer: type[M], change: Callable[[Transaction], M]) -> M:
    """Return what ``change`` answers, once it is on disk; of a dry run nothing stays."""
    if request.validate_only:

        def check(tx: Transaction) -> None:
            raise _Checked(change(tx))

        try:
            await store.commit(check, caller=True)
        except _Checked as checked:
            return checked.answer  # type: ignore[return-value]  # what `change` returned
    method = type(request).__name__.removesuffix("Request")
    given = request.SerializeToString(deterministic=True)
    stored = await store.commit(
        lambda tx: once(
            tx,
            request_id=request.request_id,
            method=method,
            request=given,
            change=lambda tx: change(tx).SerializeToString(deterministic=True),
        ),
        caller=True,
    )
    return answer.FromString(stored)


def check_etag(name: str, revision: int, given: str) -> None:
    """Raise if the caller saw another state of the row than the present one."""
    if given and given != etag(revision):
        raise ConflictError(
            "ETAG_MISMATCH",
            f"{name} was changed since it was read (etag {etag(revision)}, not {given}); read it again and retry",
        )


def masked(mask: FieldMask, source: M, into: M, *, below: str) -> M:
    """Return ``into`` with the fields of the mask as ``source`` has them; one that is absent there becomes absent.

    Paths begin with ``below``; an empty mask means all of it. (protobuf's own MergeMessage turns absent into zero in
    versions that are still supported.)
    """
    result = type(into)()
    result.CopyFrom(into)
    for path in mask.paths or [below]:
        names = path.split(".")
        if names[0] != below or not _copy(names, source, result):
            raise fields.invalid("update_mask", f"{path!r} is no field that can be changed; name {below}.FIELD")
    return result


def _copy(path: list[str], source: Message, into: Message) -> bool:
    """Copy one field, named from here on; return whether there is such a field."""
    name, *rest = path
    field = source.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        return False
    value = getattr(source, name)
    inner = field.message_type is not None and field.has_presence
    if rest:
        return inner and _copy(rest, value, getattr(into, name))
    into.ClearField(name)
    if inner or hasattr(value, "MergeFrom"):
        if not inner or source.HasField(name):
            getattr(into, name).MergeFrom(value)
    elif not field.has_presence or source.HasField(name):
        setattr(into, name, value)
    return True
