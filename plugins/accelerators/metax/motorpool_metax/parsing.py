"""Records in, devices out: what MXSML's and mx-smi's answers mean. No library is needed here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from motorpool_metax.records import Card
from motorpool_sdk import Device, Health, Link, MemoryKind
from motorpool_sdk.hardware import Verdict, numa_node, physical_function, size

VENDOR = "metax"
FRAMEWORK = "maca"
KIBIBYTE, MEBIBYTE = 2**10, 2**20
_VERSION = re.compile(r"\d+(?:\.\w+)+")


def devices(cards: Sequence[Card], root: Path) -> list[Device]:
    """Return each card's device. Its PCI address is its name, as every source knows it; an sGPU has its number too."""
    names = {card.index: card.pci_address for card in cards if card.sgpu is None}
    installed = maca_version(root)
    return [
        Device(
            device_id=card.pci_address if card.sgpu is None else f"{card.pci_address}-sgpu{card.sgpu.number}",
            vendor=VENDOR,
            framework=FRAMEWORK,
            product=product(card.name)
            if card.sgpu is None
            else f"{product(card.name)} sGPU {card.sgpu.share_percent} %",
            index=card.index if card.sgpu is None else None,
            pci_address=card.pci_address,
            driver_version=card.driver_version,
            runtime_version=card.maca_version or installed,
            memory_kind=None if size(card.total_bytes) is None else MemoryKind.DEDICATED,
            memory_bytes=size(card.total_bytes),
            numa_node=numa_node(card.pci_address, root),
            partition_of=_whole(card, root),
            links=tuple(Link(device_id=names[peer], kind=kind) for peer, kind in card.links if peer in names),
        )
        for card in cards
    ]


def _whole(card: Card, root: Path) -> str:
    if card.sgpu is not None:
        return card.pci_address
    return physical_function(card.pci_address, root) if card.is_virtual else ""


def product(name: str) -> str:
    """Return one name for what the library calls MXC500 and the command MetaX C500."""
    return f"MetaX {name[2:]}" if re.match(r"MX[A-Z]\d", name) else name


def verdict(*, is_available: bool, reason: str = "", uncorrectable: int = 0, retired: int = 0) -> Verdict:
    """Return what a card's state and its counters of errors mean."""
    if not is_available:
        return Health.UNHEALTHY, (
            f"the card is not available: {reason or 'no reason is told'}; see `mx-smi` and `dmesg`",
        )
    if uncorrectable:
        told = f"{uncorrectable} uncorrectable ECC errors, {retired} retired pages"
        return Health.UNHEALTHY, (f"{told}; reset the card, and replace it if they return",)
    return Health.HEALTHY, ()


def maca_version(root: Path) -> str:
    """Return MACA's version on this machine, empty where there is none (images bring their own)."""
    try:
        found = _VERSION.search((root / "opt/maca/Version.txt").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return found[0] if found else ""
