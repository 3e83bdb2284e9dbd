"""What MXSML or mx-smi say of a card. What was not answered is None, or empty."""

from __future__ import annotations

from dataclasses import dataclass

from motorpool_metax.sgpu import Sgpu


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card, or (``is_virtual``) one virtual card of a divided one. ``links`` are to other cards, by their index.

    With ``sgpu`` it is a slice of the card, and not the card; ``trouble`` says why a card cannot be used though it is
    well.
    """

    index: int
    pci_address: str
    name: str = ""
    is_n_class: bool = False
    is_virtual: bool = False
    total_bytes: int | None = None
    driver_version: str = ""
    maca_version: str = ""
    links: tuple[tuple[int, str], ...] = ()
    sgpu: Sgpu | None = None
    trouble: str = ""
