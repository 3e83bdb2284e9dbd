"""What MTML or mthreads-gmi say of a card. What was not answered is None, or empty."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card, or one MPC instance of a card: its name is ``uuid``, and its card's address ``instance_of``.

    ``nodes`` are those that the library names; ``links`` are counts of links by the peer's address.
    """

    index: int
    pci_address: str
    name: str = ""
    total_bytes: int | None = None
    driver_version: str = ""
    nodes: tuple[str, ...] = ()
    links: tuple[tuple[str, int], ...] = ()
    uuid: str = ""
    instance_of: str = ""
