"""What an accelerator plugin says of its devices. Pure data and one protocol; an unknown is None, never zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class MemoryKind(StrEnum):
    """What a device's memory is: its own, the host's shared with it, or a part of the host's set aside."""

    DEDICATED = "dedicated"
    UNIFIED = "unified"
    CARVE_OUT = "carve_out"


class Health(StrEnum):
    """Whether a device can be trusted with work."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link to another device of the node; ``kind`` in the vendor's words."""

    device_id: str
    kind: str
    bandwidth_bytes_per_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One accelerator or partition. ``device_id`` is the vendor UUID or PCI address; memory is in bytes."""

    device_id: str
    vendor: str
    framework: str
    product: str = ""
    index: int | None = None
    pci_address: str = ""
    architecture: str = ""
    compute_capability: str = ""
    driver_version: str = ""
    runtime_version: str = ""
    memory_kind: MemoryKind | None = None
    memory_bytes: int | None = None
    numa_node: int | None = None
    health: Health = Health.UNKNOWN
    health_reasons: tuple[str, ...] = ()
    partition_of: str = ""
    links: tuple[Link, ...] = ()
    network_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceError:
    """A card that is there and could not be read: one bad card loses one card."""

    device_id: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process on a device; bytes are None where the vendor does not tell."""

    pid: int
    used_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement: bytes, a ratio of 0 to 1, degrees Celsius, watts."""

    device_id: str
    used_bytes: int | None = None
    utilization_ratio: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How chosen devices are handed to a process or container.

    A container gets them in the first of three ways that its host has: ``container_runtime``; ``device_nodes`` with
    ``mounts`` (the host's path to the container's, read-only), ``groups`` and ``capabilities``; ``cdi_devices``.
    ``renamed_nodes`` are nodes that have another path in the container. ``container_env`` is a container's in place of
    ``env``, where devices are counted anew there. ``container_only`` says why a process cannot have them, where it
    cannot: some partitions exist in containers alone.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    device_nodes: tuple[str, ...] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    container_runtime: str = ""
    cdi_devices: tuple[str, ...] = ()
    container_env: Mapping[str, str] | None = None
    renamed_nodes: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    container_only: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """A way to the devices that a plugin tried: a library, a command. ``failure`` is empty where it answered."""

    name: str
    path: str = ""
    failure: str = ""
    in_use: bool = False


class AcceleratorPlugin(Protocol):
    """What an accelerator plugin registers. Each call runs in the plugin's own process, with a deadline.

    It may also have ``sources() -> Sequence[SourceReport]``, for `motorpool-agent devices --explain`.
    """

    def fingerprint(self) -> Sequence[Device | DeviceError]:
        """Return every device there is, usable or not."""
        ...

    def sample(self, device_ids: Sequence[str]) -> Sequence[Sample]:
        """Return a measurement of each device that could be measured."""
        ...

    def health(self, device_ids: Sequence[str]) -> Mapping[str, tuple[Health, tuple[str, ...]]]:
        """Return health and reasons by device id; a device left out counts as unknown."""
        ...

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand these devices, and no others, to a process or container."""
        ...
