"""Records in, devices out: what IXML's and ixsmi's answers mean. No library is needed here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from motorpool_iluvatar.records import Card
from motorpool_sdk import Device, Health, MemoryKind
from motorpool_sdk.hardware import Verdict, numa_node, size

VENDOR = "iluvatar"
FRAMEWORK = "corex"
# ixmlDeviceGetHealth of ixml.h.
_ILLS = {0x1: "system hub", 0x2: "memory controller", 0x10: "ECC", 0x20: "memory", 0x40: "PCIe"}
_SEE = "see `ixsmi -q` and `dmesg`"


def devices(cards: Sequence[Card], root: Path) -> list[Device]:
    """Return each card's device. Its PCI address is its name, as every source, and the bus, knows it."""
    return [
        Device(
            device_id=card.pci_address,
            vendor=VENDOR,
            framework=FRAMEWORK,
            product=card.name,
            index=card.index,
            pci_address=card.pci_address,
            architecture=card.name.removeprefix("Iluvatar").strip(),
            driver_version=card.driver_version,
            runtime_version=card.cuda_version,
            memory_kind=None if size(card.total_bytes) is None else MemoryKind.DEDICATED,
            memory_bytes=size(card.total_bytes),
            numa_node=numa_node(card.pci_address, root),
        )
        for card in cards
    ]


def verdict_of_mask(mask: int) -> Verdict:
    """Return what the bits of a card's health mean."""
    if not mask:
        return Health.HEALTHY, ()
    ills = [called for bit, called in _ILLS.items() if mask & bit] or [f"something unknown ({mask:#x})"]
    return Health.UNHEALTHY, (f"the driver reports faults in: {', '.join(ills)}; {_SEE}",)


def verdict_of_errors(double_bit: int | None) -> Verdict:
    """Return what the errors that ixsmi counts mean."""
    if double_bit is None:
        return Health.UNKNOWN, ("`ixsmi -q -x` does not tell of ECC errors",)
    if double_bit:
        return Health.UNHEALTHY, (f"{double_bit} double-bit ECC errors; reset the card, and {_SEE}",)
    return Health.HEALTHY, ()
