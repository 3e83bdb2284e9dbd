"""What CNDEV or cnmon say of a card. What was not answered is None, or empty."""

from __future__ import annotations

from dataclasses import dataclass

from motorpool_cambricon.instances import Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One MLU; boards of two chips are two. ``slot`` is the driver's number in its nodes, where it is told.

    ``peers`` are the UUIDs of the cards at the other ends of its links that are up, each as often as there are links.
    With ``instance`` it is a part of the card, and not the card; ``trouble`` says why a card cannot be used though it
    is well.
    """

    index: int
    pci_address: str
    slot: int | None = None
    handle: int = 0
    name: str = ""
    total_bytes: int | None = None
    driver_version: str = ""
    uuid: str = ""
    peers: tuple[str, ...] = ()
    instance: Instance | None = None
    trouble: str = ""
