"""The same request id gets the same answer, for an hour."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.store.rows import StoredAnswer
from motorpool_controller.store.transaction import Transaction

KEPT = timedelta(hours=1)
ANSWERS_KEPT = 10_000
REQUEST_ID_LENGTH = 128


class Answers(Protocol):
    """Answers by request id: the view's, or those that a change sees."""

    def get(self, request_id: str, /) -> StoredAnswer | None:
        """Return one; None where there is none."""


def once(
    tx: Transaction,
    *,
    request_id: str,
    method: str,
    request: bytes,
    change: Callable[[Transaction], bytes],
) -> bytes:
    """Return what ``change`` answers, or what it answered when this request id came before.

    An empty request id asks for nothing: ``change`` is carried out. ``request`` is the request as bytes, the
    same bytes for the same request (deterministic serialisation).
    """
    before = answered(tx.answers, request_id=request_id, method=method, request=request, now=tx.now)
    if before is not None or not request_id:
        return change(tx) if before is None else before
    response = change(tx)
    _forget(tx)
    tx.answers.put(StoredAnswer(request_id, method, hashlib.sha256(request).digest(), response, tx.now))
    return response


def answered(answers: Answers, *, request_id: str, method: str, request: bytes, now: datetime) -> bytes | None:
    """Return what was answered when this request id came before; None where it did not, or there is none."""
    if not request_id:
        return None
    if len(request_id) > REQUEST_ID_LENGTH:
        raise InvalidError(
            "FIELD_INVALID",
            f"request_id has {len(request_id)} characters; {REQUEST_ID_LENGTH} are allowed, e.g. a UUID",
            metadata={"field": "request_id"},
        )
    if not request_id.isprintable():
        raise InvalidError(
            "FIELD_INVALID",
            "request_id has characters that cannot be printed; give e.g. a UUID",
            metadata={"field": "request_id"},
        )
    digest = hashlib.sha256(request).digest()
    before = answers.get(request_id)
    if before is not None and before.time > now - KEPT:
        if (before.method, before.digest) != (method, digest):
            raise InvalidError(
                "REQUEST_ID_REUSED",
                f"request_id {request_id!r} was used for another request within the last hour; make a new "
                "one for each new request",
                metadata={"field": "request_id"},
            )
        return before.response
    return None


def _forget(tx: Transaction) -> None:
    """Drop answers that are too old, and the oldest when there are too many."""
    surplus = len(tx.answers) - ANSWERS_KEPT + 1
    for place, (request_id, answer) in enumerate(tx.answers.items()):
        # In the order of their times, but for ids that were used again after their hour.
        if place >= surplus and answer.time > tx.now - KEPT:
            break
        tx.answers.delete(request_id)
