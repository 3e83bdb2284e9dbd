"""A way to a vendor's cards: its library, its command, or what the kernel shows of the PCI bus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from motorpool_sdk.accelerator import DeviceError, Health, Sample

C = TypeVar("C")
Verdict = tuple[Health, tuple[str, ...]]


class Unavailable(Exception):  # noqa: N818  # an answer about the machine, not a mistake
    """A source cannot be used at all; the message says why and what to do."""


class CallError(Exception):
    """One question was not answered. ``code`` is the vendor's, None where the question could not be asked."""

    def __init__(self, symbol: str, code: int | None, meaning: str) -> None:
        """Name the function, its code and what the code means."""
        said = meaning if code is None else f"{code} ({meaning})" if meaning else str(code)
        super().__init__(f"{symbol}: {said}")
        self.symbol = symbol
        self.code = code


class Source(Protocol[C]):
    """One way to the cards. ``C`` is the vendor's own record of a card, alike for all of its sources."""

    @property
    def name(self) -> str:
        """The library's, command's or file system's name."""
        ...

    @property
    def path(self) -> str:
        """Where it was found; empty while it was not."""
        ...

    def cards(self) -> Sequence[C | DeviceError]:
        """Return every card; raises Unavailable."""
        ...

    def measure(self, card: C) -> Sample:
        """Return a measurement of one card; raises CallError for that card, Unavailable for all."""
        ...

    def judge(self, card: C) -> Verdict:
        """Return whether a card can be trusted, and why not; raises as ``measure``."""
        ...
