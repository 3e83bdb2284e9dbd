"""A vendor's cards as the PCI bus shows them: the last resort."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from motorpool_sdk.hardware.pci import PciDevice, pci_devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """Which devices on the bus are the vendor's cards.

    ``classes`` are beginnings of PCI classes: bridges and sound of the same vendor are no cards. ``drivers`` are the
    kernel drivers that serve them, ``products`` names by device number, ``remedy`` what to do where none does.
    """

    pci_vendor: str
    classes: tuple[str, ...]
    remedy: str
    drivers: tuple[str, ...] = ()
    products: Mapping[str, str] = field(default_factory=dict)
    root: Path = Path("/")

    def cards(self) -> list[PciDevice]:
        """Return the cards."""
        return [card for card in pci_devices(self.pci_vendor, self.root) if card.pci_class.startswith(self.classes)]
