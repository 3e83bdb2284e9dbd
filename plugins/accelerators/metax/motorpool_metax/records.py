"""What MXSML or mx-smi say of a card. What was not answered is None, or empty."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card, or (``is_virtual``) one virtual card of a divided one. ``links`` are to other cards, by their index."""

    index: int
    pci_address: str
    name: str = ""
    is_n_class: bool = False
    is_virtual: bool = False
    total_bytes: int | None = None
    driver_version: str = ""
    maca_version: str = ""
    links: tuple[tuple[int, str], ...] = ()
