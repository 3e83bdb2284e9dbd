"""Page and resume tokens: opaque to callers, checked when they come back."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.services.convert import fields

T = TypeVar("T")

DEFAULT_SIZE = 100
MAX_SIZE = 1_000
TURN_ROWS = 25
"""Rows that are made into messages before others have their turn: a millisecond, or three the first time."""
_CHECK_BYTES = 12
_MAX_TOKEN_CHARACTERS = 4_096
# Of what databases hold: 64 bits with a sign.
_REVISION_DIGITS = 18


def page(
    rows: Iterable[T],
    *,
    key: Callable[[T], str],
    scope: tuple[str, ...],
    size: int,
    token: str,
    descending: bool = False,
) -> tuple[list[T], str]:
    """Return the rows after the token's, in the order of their keys, and the token of the next page.

    Keys are unique. ``scope`` says which list of which cluster this is, filters included: a token of another one is
    refused. A row that appears or goes between two pages moves no other row from one page to the next.
    """
    size = page_size(size)
    after = place_of(token, scope) if token else None
    ordered = sorted(((key(row), row) for row in rows), key=lambda pair: pair[0], reverse=descending)
    if after is not None:
        ordered = [pair for pair in ordered if (pair[0] < after if descending else pair[0] > after)]
    shown = ordered[:size]
    return [row for _, row in shown], _sealed(shown[-1][0], scope) if len(ordered) > size else ""


def page_of(
    rows: Mapping[str, T], names: Sequence[str], *, scope: tuple[str, ...], size: int, token: str
) -> tuple[list[T], str]:
    """Return what ``page`` does of rows whose names are there in order already: it looks at those of the page alone."""
    first = bisect_right(names, place_of(token, scope)) if token else 0
    end = first + page_size(size)
    shown = [rows[name] for name in names[first:end]]
    return shown, _sealed(names[end - 1], scope) if end < len(names) else ""


def place_of(token: str, scope: tuple[str, ...]) -> str:
    """Return the key of the last row before a token's page; empty without one."""
    return _opened(token, scope) if token else ""


async def in_turns(rows: Iterable[T]) -> AsyncIterator[T]:
    """Yield rows, and let others go on between some: no long page holds up a fleet's heartbeats."""
    for number, row in enumerate(rows, start=1):
        yield row
        if number % TURN_ROWS == 0:
            await asyncio.sleep(0)


def page_size(size: int) -> int:
    """Return how many rows a page has."""
    if size < 0:
        raise fields.invalid("page_size", f"{size} is negative; leave it out for {DEFAULT_SIZE}")
    return min(size, MAX_SIZE) if size else DEFAULT_SIZE


@dataclass(frozen=True, slots=True)
class Position:
    """How far a watch has come: through a revision, or in it through this one of its changes, in their order."""

    revision: int
    within: str = ""


def resume_token(cluster_id: str, revision: int, within: str = "") -> str:
    """Return the token from which Watch goes on after a revision, or after one of its changes."""
    return _sealed(f"{revision} {within}".strip(), ("resume", cluster_id))


def resume_position(cluster_id: str, token: str) -> Position:
    """Return the position of a resume token."""
    revision, _, within = _opened(token, ("resume", cluster_id)).partition(" ")
    if not (revision.isascii() and revision.isdigit() and len(revision) <= _REVISION_DIGITS):
        raise _foreign(("resume", cluster_id))
    return Position(int(revision), within)


def _sealed(key: str, scope: tuple[str, ...]) -> str:
    payload = key.encode()
    return base64.urlsafe_b64encode(_check(payload, scope) + payload).decode()


def _opened(token: str, scope: tuple[str, ...]) -> str:
    # Not against forgers, who could read everything a token opens anyway: against mix-ups.
    if len(token) <= _MAX_TOKEN_CHARACTERS:
        try:
            sealed = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            sealed = b""
        check, payload = sealed[:_CHECK_BYTES], sealed[_CHECK_BYTES:]
        if sealed and check == _check(payload, scope):
            # Whoever knows how may seal what is no text: that is no token of ours either.
            with suppress(UnicodeDecodeError):
                return payload.decode()
    raise _foreign(scope)


def _foreign(scope: tuple[str, ...]) -> InvalidError:
    kind = "resume_token" if scope[0] == "resume" else "page_token"
    return InvalidError(
        "PAGE_TOKEN_INVALID",
        f"{kind}: it was not given by this cluster for this list and these filters; begin again without one",
        metadata={"field": kind},
    )


def _check(payload: bytes, scope: tuple[str, ...]) -> bytes:
    return hashlib.sha256(b"\0".join([*(part.encode() for part in scope), payload])).digest()[:_CHECK_BYTES]
