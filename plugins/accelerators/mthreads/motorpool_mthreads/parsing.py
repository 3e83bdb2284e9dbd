"""Records in, devices out: what MTML's and mthreads-gmi's answers mean. No library is needed here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from motorpool_mthreads.records import Card
from motorpool_sdk import Device, Link, MemoryKind
from motorpool_sdk.hardware import numa_node, size

VENDOR = "mthreads"
FRAMEWORK = "musa"
MEBIBYTE = 2**20
# No call tells it. Unconfirmed: from MUSA's documents, by product.
_CAPABILITIES = {"S50": "2.1", "S70": "2.1", "S80": "2.1", "S3000": "2.1", "S4000": "2.2", "S5000": "3.1"}


def devices(cards: Sequence[Card], root: Path) -> list[Device]:
    """Return each card's device. Its PCI address is its name, as every source knows it; an instance's is its UUID."""
    there = {card.pci_address for card in cards if not card.instance_of}
    return [
        Device(
            device_id=card.uuid if card.instance_of else card.pci_address,
            vendor=VENDOR,
            framework=FRAMEWORK,
            product=card.name,
            index=card.index,
            pci_address=card.pci_address,
            compute_capability=_CAPABILITIES.get(card.name.removeprefix("MTT").strip(), ""),
            driver_version=card.driver_version,
            memory_kind=None if size(card.total_bytes) is None else MemoryKind.DEDICATED,
            memory_bytes=size(card.total_bytes),
            numa_node=numa_node(card.pci_address, root),
            partition_of=card.instance_of,
            links=tuple(Link(device_id=peer, kind=f"MtLink x{count}") for peer, count in card.links if peer in there),
        )
        for card in cards
    ]
