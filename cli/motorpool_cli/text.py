"""Quantities and names in words for people. An unknown is "-", never zero."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from motorpool_cli.failures import CommandError, Exit

if TYPE_CHECKING:  # what the type checker calls a generated enum
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper

UNKNOWN = "-"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: int | None) -> str:
    """Return bytes in the largest binary unit that leaves at least one, with three figures."""
    if count is None:
        return UNKNOWN
    value, unit = float(count), 0
    while abs(value) >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.3g} {_UNITS[unit]}"


def age(time: Timestamp, now: datetime | None = None) -> str:
    """Return how long ago ``time`` was, in its largest unit."""
    if not time.seconds:
        return UNKNOWN
    seconds = int(((now or datetime.now(UTC)) - time.ToDatetime(UTC)).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{max(seconds, 0)}s"


def clock(time: Timestamp) -> str:
    """Return a time of day in the reader's zone."""
    return time.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S") if time.seconds else UNKNOWN


def word(kind: _EnumTypeWrapper[Any], number: int) -> str:
    """Return the bare word of an enum's value, e.g. RUNNING; its number where a newer controller sends a new one."""
    if number not in kind.values():
        return str(number)
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.DESCRIPTOR.name).upper()
    return kind.Name(number).removeprefix(f"{prefix}_")


def bare(name: str) -> str:
    """Return a resource's name without its collection."""
    return name.rsplit("/", 1)[-1]


def full(collection: str, name: str) -> str:
    """Return a resource's name with its collection, whether it was given or not."""
    return name if name.startswith(f"{collection}/") else f"{collection}/{name}"


def quoted(word: str) -> str:
    """Return an argument of a command line such that one sees where it ends."""
    return f'"{word}"' if not word or " " in word else word


def ratio(value: float | None) -> str:
    """Return a share as a percentage."""
    return UNKNOWN if value is None else f"{value * 100:.0f} %"


def printable(value: str) -> str:
    """Return ``value`` with control and direction characters escaped: names and messages of others move no cursor."""
    if value.isprintable():
        return value
    return "".join(
        char if char == "\n" or unicodedata.category(char) not in _UNPRINTABLE else ascii(char)[1:-1] for char in value
    )


# Control, format (direction and width), surrogate, line and paragraph separators.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}

_FACTORS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_FACTORS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate(("K", "M", "G", "T"), start=1)}


def parse_size(option: str, value: str) -> int:
    """Return the bytes that ``value`` says, e.g. "6GiB" or "500 MB"; a bare number is bytes."""
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]*)\s*", value)
    factor = _FACTORS.get(match[2].upper()) if match else None
    if match is None or factor is None:
        raise CommandError(
            Exit.USAGE,
            "OPTION_INVALID",
            f"{option} {value} is not a size; write e.g. 6GiB, 500MiB or 6000000000.",
        )
    return int(float(match[1]) * factor)


_LENGTHS_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_SECONDS = 10 * 365 * 86400


def parse_duration(value: str | float) -> float:
    """Return the seconds that an option's value says, e.g. "90", "15m" or "24h"; a bare number is seconds."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([smhd]?)", str(value).strip())
    seconds = float(match[1]) * _LENGTHS_SECONDS[match[2]] if match else 0.0
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise typer.BadParameter(f"{value!r} is not a length of time from 1s to 3650d; write e.g. 90s, 15m or 24h.")
    return seconds


def parse_since(value: str) -> datetime | float:
    """Return what --since says: a time, the reader's where it names no zone, or how many seconds ago."""
    try:
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError):
        try:
            return parse_duration(value)
        except typer.BadParameter as error:
            raise CommandError(
                Exit.USAGE,
                "OPTION_INVALID",
                f"--since {value} is neither a length of time nor a time; write e.g. 90s, 10m, 2h or "
                "2026-11-21T20:00:00Z.",
            ) from error


def parse_reschedule_after(value: str | float) -> float:
    """Return the seconds that an option's value says, "0" too; -1 for "never"."""
    word = str(value).strip()
    if word in {"never", "-1"}:
        return -1.0
    return 0.0 if word in {"0", "0s"} else parse_duration(word)


def length(seconds: float) -> str:
    """Return a length of time as an option takes it, in the largest unit that divides it."""
    if seconds < 0:
        return "never"
    for unit, factor in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % factor == 0:
            return f"{seconds / factor:.0f}{unit}"
    return f"{seconds:g}s"
