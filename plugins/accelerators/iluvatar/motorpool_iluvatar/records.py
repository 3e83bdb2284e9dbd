"""What IXML or ixsmi say of a card. What was not answered is None, or empty."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One chip; boards of two are two. ``minor`` is N of the node iluvatarN."""

    index: int
    pci_address: str
    uuid: str = ""
    minor: int | None = None
    name: str = ""
    total_bytes: int | None = None
    driver_version: str = ""
    cuda_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One measurement of a chip, and the errors in its memory that ixsmi counts."""

    used_bytes: int | None = None
    total_bytes: int | None = None
    percent: float | None = None
    celsius: float | None = None
    watts: float | None = None
    processes: tuple[tuple[int, int | None], ...] = ()
    double_bit_errors: int | None = None
