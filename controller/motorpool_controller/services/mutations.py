"""How a call changes the store: checked only, or carried out, once for each request id."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from motorpool_controller.domain.errors import ConflictError
from motorpool_controller.services.convert.node import etag
from motorpool_controller.store.requests import answered, once
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
    method, given = _identity(request)
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


def repeated(store: Store, request: Mutation, answer: type[M], now: datetime) -> M | None:
    """Return what a request was answered that came before; None where it did not. For what is done, then kept."""
    if request.validate_only:
        return None
    method, given = _identity(request)
    before = answered(store.view.answers, request_id=request.request_id, method=method, request=given, now=now)
    return None if before is None else answer.FromString(before)


def _identity(request: Mutation) -> tuple[str, bytes]:
    return type(request).__name__.removesuffix("Request"), request.SerializeToString(deterministic=True)


def check_etag(name: str, revision: int, given: str) -> None:
    """Raise if the caller saw another state of the row than the present one."""
    if given and given != etag(revision):
        raise ConflictError(
            "ETAG_MISMATCH",
            f"{name} was changed since it was read (etag {etag(revision)}, not {given}); read it again and retry",
        )
