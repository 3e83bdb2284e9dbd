"""Records in, devices out: what CNDEV's and cnmon's answers mean. No library is needed here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from motorpool_cambricon.instances import Instance
from motorpool_cambricon.records import Card
from motorpool_sdk import Device, Health, Link, MemoryKind
from motorpool_sdk.hardware import Verdict, numa_node, size

VENDOR = "cambricon"
FRAMEWORK = "neuware"
KIBIBYTE, MEBIBYTE = 2**10, 2**20
_WELL = 1
_VERSION = re.compile(r"\d+(?:\.\w+)+")


def devices(cards: Sequence[Card], root: Path, home: str = "") -> list[Device]:
    """Return each card's device. Its PCI address is its name, as every source knows it; an instance's is its UUID."""
    runtime = neuware_version(root, home)
    names = {card.uuid: card.pci_address for card in cards if card.uuid}
    return [
        Device(
            device_id=card.pci_address if card.instance is None else _instance_name(card, card.instance),
            vendor=VENDOR,
            framework=FRAMEWORK,
            product=_product(card),
            index=card.index if card.instance is None else None,
            pci_address=card.pci_address,
            driver_version=card.driver_version,
            runtime_version=runtime,
            memory_kind=None if size(card.total_bytes) is None else MemoryKind.DEDICATED,
            memory_bytes=size(card.total_bytes),
            numa_node=numa_node(card.pci_address, root),
            partition_of="" if card.instance is None else card.pci_address,
            links=_links(card, names),
        )
        for card in cards
    ]


def verdict(health: int, device_state: int, driver_state: int) -> Verdict:
    """Return what CNDEV's flag of health means; the states are in its header, and told as they are."""
    if health == _WELL:
        return Health.HEALTHY, ()
    told = f"the driver calls the card unwell (device state {device_state}, driver state {driver_state})"
    return Health.UNHEALTHY, (f"{told}; see `cnmon info` and `dmesg`",)


def _product(card: Card) -> str:
    profile = f" {card.instance.kind} {card.instance.profile}".rstrip() if card.instance is not None else ""
    return f"Cambricon {card.name}{profile}" if card.name else ""


def _instance_name(card: Card, instance: Instance) -> str:
    # As Cambricon's own plugins call them.
    return f"MLU-{instance.uuid}" if instance.uuid else f"{card.pci_address}-{instance.kind.lower()}{instance.number}"


def _links(card: Card, names: Mapping[str, str]) -> tuple[Link, ...]:
    # A link may lead to another machine's card, or back to this one.
    counted = Counter(names[peer] for peer in card.peers if peer in names and peer != card.uuid)
    return tuple(Link(device_id=device_id, kind=f"MLULink x{count}") for device_id, count in sorted(counted.items()))


def neuware_version(root: Path, home: str = "") -> str:
    """Return Neuware's version on this machine, empty where there is none (images bring their own)."""
    folder = Path(home) if home else root / "usr/local/neuware"
    try:
        found = _VERSION.search((folder / "version.txt").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return found[0] if found else ""
