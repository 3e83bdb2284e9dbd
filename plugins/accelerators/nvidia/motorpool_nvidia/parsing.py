"""Records in, devices out: what NVML's answers mean. No library is needed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from motorpool_nvidia.records import (
    NOT_SUPPORTED,
    Card,
    Condition,
    Fault,
    Measurement,
    Memory,
    Partition,
    System,
    Unreadable,
)
from motorpool_sdk import Device, DeviceError, Health, Link, MemoryKind, Sample, hardware

T = TypeVar("T")

VENDOR = "nvidia"
FRAMEWORK = "cuda"
_BYTES_PER_MEGABYTE = 1_000_000

# nvmlDeviceArchitecture_t of nvml.h.
_ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}


def devices(found: Sequence[Card | Unreadable], system: System) -> list[Device | DeviceError]:
    """Return every card and partition, and an error for each that could not be read."""
    cards = [each for each in found if isinstance(each, Card)]
    links = _links(cards)
    result: list[Device | DeviceError] = []
    for each in found:
        if isinstance(each, Unreadable):
            result.append(_error(nameless(each.index), "the card", each.fault))
            continue
        device = _device(each, system, links.get(each.uuid, ()))
        result.append(device)
        result.extend(_partitions(each, device))
    return result


def sample(measurement: Measurement) -> Sample:
    """Return the measurement in bytes, ratios, degrees and watts; what was not answered is None."""
    memory = _known(measurement.memory)
    power = _known(measurement.power_milliwatts)
    figures = hardware.measurement(
        used_bytes=memory.used_bytes if memory is not None and memory.total_bytes else None,
        total_bytes=None if memory is None else memory.total_bytes,
        percent=_known(measurement.utilization_percent),
        celsius=_known(measurement.temperature_celsius),
        watts=None if power is None else power / 1000,
        processes=((process.pid, process.used_bytes) for process in measurement.processes),
    )
    return replace(figures, device_id=measurement.uuid)


def health(condition: Condition) -> tuple[Health, tuple[str, ...]]:
    """Return whether a card can be trusted, and why not. What a card cannot tell speaks neither for nor against it."""
    if condition.presence is not None:
        return Health.UNHEALTHY, (lost(condition.presence),)
    faults = tuple(_faults(condition))
    if faults:
        return Health.UNHEALTHY, faults
    unanswered = tuple(_unanswered(condition))
    return (Health.UNKNOWN, unanswered) if unanswered else (Health.HEALTHY, ())


def nameless(index: int) -> str:
    """Return what a card goes by whose UUID cannot be read."""
    return f"index {index}"


def lost(fault: Fault) -> str:
    """Return the sentence for a card that does not answer."""
    return (
        f"NVML does not reach the card: {fault.message}; look for Xid in `dmesg`, reset it with `nvidia-smi "
        "--gpu-reset` or restart the machine, then restart the agent"
    )


def _device(card: Card, system: System, links: tuple[Link, ...]) -> Device:
    capability = _known(card.compute_capability)
    cuda = _known(system.cuda_version)
    kind, memory_bytes = _size(card.memory)
    return Device(
        device_id=card.uuid,
        vendor=VENDOR,
        framework=FRAMEWORK,
        product=_known(card.name) or "",
        index=card.index,
        pci_address=_known(card.pci_address) or "",
        architecture=_ARCHITECTURES.get(_known(card.architecture) or 0, ""),
        compute_capability="" if capability is None else f"{capability[0]}.{capability[1]}",
        driver_version=_known(system.driver_version) or "",
        runtime_version="" if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        memory_kind=kind,
        memory_bytes=memory_bytes,
        numa_node=card.numa_node,
        links=links,
    )


def _partitions(card: Card, parent: Device) -> Iterator[Device | DeviceError]:
    sharing = Counter(
        _known(each.gpu_instance)
        for each in card.partitions
        if isinstance(each, Partition) and not isinstance(each.gpu_instance, Fault)
    )
    for each in card.partitions:
        if isinstance(each, Fault):
            yield _error(f"a partition of {card.uuid}", "it", each)
            continue
        kind, memory_bytes = _size(each.memory)
        if sharing[_known(each.gpu_instance)] > 1:
            # Each reports the memory of all: placed by that, it would be given away twice.
            memory_bytes = None
        yield replace(
            parent,
            device_id=each.uuid,
            product=_known(each.name) or parent.product,
            index=None,
            memory_kind=kind,
            memory_bytes=memory_bytes,
            partition_of=card.uuid,
            links=(),
        )


def _size(memory: Memory | Fault) -> tuple[MemoryKind | None, int | None]:
    """Return the kind, and the bytes that can be handed out: what the driver reserves is nobody's to use.

    A card whose memory is the machine's says "not supported" (GB10, Jetson) or nothing at all: unknown, and not none.
    """
    if isinstance(memory, Fault):
        return (MemoryKind.UNIFIED if memory.code == NOT_SUPPORTED else None), None
    if memory.total_bytes == 0:
        return MemoryKind.UNIFIED, None
    return MemoryKind.DEDICATED, max(memory.total_bytes - (memory.reserved_bytes or 0), 1)


def _links(cards: Sequence[Card]) -> Mapping[str, tuple[Link, ...]]:
    """Return each card's links to others. Cards that hang on switches reach one another."""
    by_address = {card.pci_address: card.uuid for card in cards if isinstance(card.pci_address, str)}
    switched = {card.uuid: sum(link.is_switch for link in card.links) for card in cards}
    result: dict[str, tuple[Link, ...]] = {}
    for card in cards:
        direct = Counter(
            by_address[link.remote_address]
            for link in card.links
            if not link.is_switch and link.remote_address in by_address
        )
        found = [_link(peer, "NVLink", count, card) for peer, count in direct.items()]
        found += [
            _link(peer.uuid, "NVSwitch", min(switched[card.uuid], switched[peer.uuid]), card)
            for peer in cards
            if peer.uuid != card.uuid and switched[card.uuid] and switched[peer.uuid]
        ]
        result[card.uuid] = tuple(sorted(found, key=lambda link: link.device_id))
    return result


def _link(peer: str, kind: str, count: int, card: Card) -> Link:
    speed = _known(card.link_speed)
    return Link(
        device_id=peer,
        kind=f"{kind} x{count}",
        bandwidth_bytes_per_second=speed * count * _BYTES_PER_MEGABYTE if speed else None,
    )


def _faults(condition: Condition) -> Iterator[str]:
    errors = _known(condition.uncorrected_errors)
    if errors:
        yield (
            f"{errors} uncorrectable ECC errors since the driver was loaded; reset the card, and replace it if they "
            "return"
        )
    rows = _known(condition.remapped_rows)
    if rows is not None and rows.has_failed:
        yield "a faulty row of memory could not be replaced by a spare one; replace the card"
    if rows is not None and rows.is_pending:
        yield "rows of memory wait to be replaced by spare ones; reset the card with `nvidia-smi --gpu-reset`"
    if _known(condition.retirement_is_pending):
        yield "pages of memory wait to be retired; reset the card or restart the machine"
    if condition.lacks_partitions:
        yield (
            "MIG is on and there is no partition, so that nothing can run on it; make some with `nvidia-smi mig -cgi`, "
            "or switch MIG off with `nvidia-smi -mig 0`"
        )


def _unanswered(condition: Condition) -> Iterator[str]:
    for what, answer in (
        ("ECC errors", condition.uncorrected_errors),
        ("remapped rows", condition.remapped_rows),
        ("retired pages", condition.retirement_is_pending),
    ):
        if isinstance(answer, Fault) and not answer.is_absence:
            yield f"NVML does not tell about {what}: {answer.message}"


def _error(device_id: str, what: str, fault: Fault) -> DeviceError:
    return DeviceError(
        device_id=device_id, message=f"{what} cannot be read: {fault.message}; see `nvidia-smi` and `dmesg`"
    )


def _known(answer: T | Fault) -> T | None:
    return None if isinstance(answer, Fault) else answer
