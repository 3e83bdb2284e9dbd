"""libacme.so.1 in Python: the only file that knows its structures. Errors of the library become OSError."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

NAME = "libacme.so.1"
_TEXT = 64
_UNKNOWN = 2**64 - 1  # ACME_UNKNOWN in acme.h


class _Card(ctypes.Structure):
    _fields_ = (
        ("uuid", ctypes.c_char * _TEXT),
        ("product", ctypes.c_char * _TEXT),
        ("memory_bytes", ctypes.c_uint64),
    )


class _Usage(ctypes.Structure):
    _fields_ = (("used_bytes", ctypes.c_uint64), ("busy_percent", ctypes.c_uint64), ("celsius", ctypes.c_uint64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card of the machine."""

    number: int
    uuid: str
    product: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a card is doing; what the driver does not know is None."""

    used_bytes: int | None
    busy_percent: int | None
    celsius: int | None


def count() -> int:
    """Return how many cards there are; raises OSError where the driver does not answer."""
    number: int = load().acme_count()
    _check(number, "acme_count")
    return number


def card(number: int) -> Card:
    """Return a card; raises OSError where the driver does not tell."""
    filled = _Card()
    _check(load().acme_card(number, ctypes.byref(filled)), f"acme_card({number})")
    return Card(
        number=number,
        uuid=filled.uuid.decode("ascii", "replace"),
        product=filled.product.decode("utf-8", "replace"),
        memory_bytes=_known(filled.memory_bytes),
    )


def usage(number: int) -> Usage:
    """Return what a card is doing; raises OSError where the driver does not tell."""
    filled = _Usage()
    _check(load().acme_usage(number, ctypes.byref(filled)), f"acme_usage({number})")
    return Usage(
        used_bytes=_known(filled.used_bytes),
        busy_percent=_known(filled.busy_percent),
        celsius=_known(filled.celsius),
    )


@cache
def load() -> ctypes.CDLL:
    """Return the library, loaded once; raises OSError where it is not installed."""
    # When asked, not at import: without the driver the plugin still says so, instead of not loading.
    library = ctypes.CDLL(NAME)
    library.acme_card.argtypes = (ctypes.c_int, ctypes.POINTER(_Card))
    library.acme_usage.argtypes = (ctypes.c_int, ctypes.POINTER(_Usage))
    return library


def _check(code: int, call: str) -> None:
    if code < 0:
        raise OSError(f"{call} of {NAME} failed with {code}; is Acme's driver running?")


def _known(value: int) -> int | None:
    return None if value == _UNKNOWN else value
