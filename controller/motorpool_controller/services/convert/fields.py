"""Single values: times, durations, enums, sizes, texts. What may not be is an InvalidError that names its field."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.names import shown

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper

V = TypeVar("V", bound=int)
E = TypeVar("E", bound=StrEnum)

MAX_NAME_CHARACTERS = 512
MAX_TEXT_CHARACTERS = 8_192
MAX_BYTES = 1 << 60
MAX_SECONDS = 100 * 365 * 86_400

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def invalid(field: str, message: str) -> InvalidError:
    """Return the error of a field with a value that it may not have."""
    return InvalidError("FIELD_INVALID", f"{field}: {message}", metadata={"field": field})


def timestamp(time: datetime | None) -> Timestamp | None:
    """Return a time as a message; None stays None, which leaves a field absent."""
    if time is None:
        return None
    message = Timestamp()
    set_time(message, time)
    return message


def set_time(message: Timestamp, time: datetime) -> None:
    """Have a message of a time say this one: what ``FromDatetime`` does, in a sixth of the time."""
    message.seconds = (time - _EPOCH) // _SECOND
    message.nanos = time.microsecond * 1_000


def time_of(message: Timestamp, field: str) -> datetime:
    """Return a message's time."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise invalid(field, "it is no time; give seconds and nanoseconds since 1970") from error


def duration(seconds: float) -> Duration:
    """Return so many seconds as a message."""
    whole = math.floor(seconds)
    return Duration(seconds=whole, nanos=0) if whole == seconds else _fraction(seconds)


def seconds_of(message: Duration) -> float:
    """Return a message's seconds."""
    return message.seconds + message.nanos / 1e9


def bounded_seconds_of(message: Duration, field: str) -> float:
    """Return a message's seconds, which must be a time that one can add to another."""
    seconds = seconds_of(message)
    if abs(seconds) > MAX_SECONDS:
        raise invalid(field, f"{seconds:g} seconds is beyond a hundred years; give a shorter time")
    return seconds


def number(kind: _EnumTypeWrapper[V], prefix: str, member: StrEnum) -> V:
    """Return the proto's number of one of our enum's members, which go by the same names."""
    return kind.Value(f"{prefix}_{member.name}")


def member(kind: _EnumTypeWrapper[V], prefix: str, value: V, ours: type[E], field: str) -> E | None:
    """Return our member of a proto's number; None for the unspecified one."""
    if not value:
        return None
    try:
        return ours[kind.Name(value).removeprefix(f"{prefix}_")]
    except (ValueError, KeyError) as error:
        names = ", ".join(sorted(known.name for known in ours))
        raise invalid(field, f"{value} is none of {names}; this controller may be older than the caller") from error


def required(kind: _EnumTypeWrapper[V], prefix: str, value: V, ours: type[E], field: str) -> E:
    """Return our member of a proto's number, which must be one."""
    found = member(kind, prefix, value, ours, field)
    if found is None:
        raise invalid(field, f"it is missing; give one of {', '.join(sorted(known.name for known in ours))}")
    return found


def size(value: int, field: str) -> int:
    """Return a number of bytes or things, which cannot be negative."""
    if not 0 <= value <= MAX_BYTES:
        raise invalid(field, f"{value} is no size")
    return value


def ratio(value: float, field: str) -> float:
    """Return a number that is one: no infinity, no NaN."""
    if not math.isfinite(value):
        raise invalid(field, f"{value} is no number")
    return value


def name(value: str, field: str) -> str:
    """Return a short text that must be there, and that can be printed: one object for all that are equal.

    Vendors, products, versions and ids come again with every device and every heartbeat of a fleet.
    """
    if not value or len(value) > MAX_NAME_CHARACTERS or not value.isprintable():
        raise invalid(field, f"{shown(value)} is empty, cannot be printed or is longer than {MAX_NAME_CHARACTERS}")
    return sys.intern(value)


def word(value: str, field: str) -> str:
    """Return a short text that may be empty."""
    return name(value, field) if value else ""


def text(value: str) -> str:
    """Return an agent's prose, cut where it is endless."""
    return value if len(value) <= MAX_TEXT_CHARACTERS else value[: MAX_TEXT_CHARACTERS - 1] + "…"


def words(values: Mapping[str, str], field: str) -> dict[str, str]:
    """Return labels or the like, by sorted key."""
    return {name(key, field): word(values[key], f"{field}.{key}") for key in sorted(values)}


def _fraction(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
