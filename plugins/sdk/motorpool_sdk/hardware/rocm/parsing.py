"""Records in, devices out: what the answers mean. No library is needed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from motorpool_sdk.accelerator import Device, Health, Link, MemoryKind, Sample
from motorpool_sdk.hardware.figures import measurement, size
from motorpool_sdk.hardware.rocm.family import Family
from motorpool_sdk.hardware.rocm.records import Card, Errors, Reading
from motorpool_sdk.hardware.sources import Verdict


def devices(cards: Sequence[Card], family: Family, runtime_version: str = "") -> list[Device]:
    """Return each card's device. Its PCI address is its name, as every source knows it; partitions count from there."""
    sharing = Counter(card.pci_address for card in cards)
    names = {card.index: _name(card, sharing) for card in cards}
    return [
        Device(
            device_id=names[card.index],
            vendor=family.vendor,
            framework=family.framework,
            product=card.name,
            index=card.index,
            pci_address=card.pci_address,
            architecture=card.graphics,
            driver_version=card.driver_version,
            runtime_version=runtime_version,
            memory_kind=_kind(card),
            memory_bytes=size(card.total_bytes),
            numa_node=card.numa_node,
            links=tuple(Link(device_id=names[peer], kind=kind) for peer, kind in card.links if peer in names),
        )
        for card in cards
    ]


def sample(reading: Reading) -> Sample:
    """Return the measurement in bytes, ratios, degrees and watts; what was not answered, or cannot be, is None."""
    return measurement(
        used_bytes=reading.used_bytes,
        total_bytes=reading.total_bytes,
        percent=reading.utilization_percent,
        celsius=reading.temperature_celsius,
        watts=reading.power_watts,
        processes=((running.pid, running.used_bytes) for running in reading.processes),
    )


def verdict(errors: Errors, family: Family) -> Verdict:
    """Return what counters of errors mean. A card that has none of them is not judged by them."""
    bad = [
        f"{count} uncorrectable errors in {block} since the driver was loaded" for block, count in errors.uncorrectable
    ]
    if bad:
        return Health.UNHEALTHY, (*bad, f"reset the card with `{family.reset}`, and replace it if they return")
    if errors.failures:
        return Health.UNKNOWN, errors.failures
    return Health.HEALTHY, ()


def product(name: str) -> str:
    """Return a card's name; ROCm SMI has a bare number where its list of names is older than the card."""
    name = name.strip()
    return "" if name.lower().startswith("0x") or name.upper() == "N/A" else name


def _name(card: Card, sharing: Mapping[str, int]) -> str:
    if sharing[card.pci_address] > 1 and card.partition:
        return f"{card.pci_address}-partition{card.partition}"
    return card.pci_address


def _kind(card: Card) -> MemoryKind | None:
    if size(card.total_bytes) is None:
        return None
    return MemoryKind.CARVE_OUT if card.is_apu else MemoryKind.DEDICATED
