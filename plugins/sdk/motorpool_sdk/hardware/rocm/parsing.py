"""Records in, devices out: what the answers mean. No library is needed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from motorpool_sdk.accelerator import Device, Health, Link, MemoryKind, Process, Sample
from motorpool_sdk.hardware.rocm.family import Family
from motorpool_sdk.hardware.rocm.records import Card, Errors, Reading
from motorpool_sdk.hardware.sources import Verdict

# No card has 16 TiB, runs above 200 °C or draws 10 kW: what says so is not answering the question.
_MOST_BYTES = 2**44
_MOST_CELSIUS = 200.0
_MOST_WATTS = 10_000.0
_MOST_PERCENT = 100.0


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
    percent = _within(reading.utilization_percent, 0.0, _MOST_PERCENT)
    total = size(reading.total_bytes)
    used = reading.used_bytes
    return Sample(
        device_id="",
        used_bytes=used if used is not None and 0 <= used <= (total or _MOST_BYTES) else None,
        utilization_ratio=None if percent is None else percent / 100,
        temperature_celsius=_within(reading.temperature_celsius, -_MOST_CELSIUS, _MOST_CELSIUS),
        power_watts=_within(reading.power_watts, 0.0, _MOST_WATTS),
        processes=tuple(
            Process(pid=running.pid, used_bytes=running.used_bytes) for running in reading.processes if running.pid > 0
        ),
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


def size(total_bytes: int | None) -> int | None:
    """Return the bytes of a card's memory, None where they cannot be."""
    return total_bytes if total_bytes is not None and 0 < total_bytes <= _MOST_BYTES else None


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


def _within(value: float | None, least: float, most: float) -> float | None:
    return value if value is not None and least <= value <= most else None
