"""What NVML was asked and what it answered, before anybody makes sense of it. A ``Fault`` stands for no answer."""

from __future__ import annotations

from dataclasses import dataclass

# nvmlReturn_t of nvml.h.
NOT_SUPPORTED = 3
NOT_FOUND = 6
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
VGPU_ECC_NOT_SUPPORTED = 22
ARGUMENT_VERSION_MISMATCH = 25


class DriverError(Exception):
    """NVML, or nvidia-smi, cannot be used at all; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Fault:
    """NVML's return code in place of a value, and what NVML says of it."""

    code: int
    message: str

    @property
    def is_loss(self) -> bool:
        """Whether the whole card is meant, not this one question."""
        return self.code in {GPU_IS_LOST, RESET_REQUIRED}

    @property
    def is_absence(self) -> bool:
        """Whether the card, or its driver, has no such thing to tell of."""
        return self.code in {NOT_SUPPORTED, FUNCTION_NOT_FOUND, VGPU_ECC_NOT_SUPPORTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The driver's version, and the newest CUDA that it serves, as 1000 times the major and 10 times the minor part."""

    driver_version: str | Fault
    cuda_version: int | Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes. ``used_bytes`` leaves out ``reserved_bytes``, but where a driver does not tell those apart (None)."""

    total_bytes: int
    used_bytes: int
    reserved_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One MIG device of a card. Those with one ``gpu_instance`` share its memory."""

    uuid: str
    name: str | Fault
    memory: Memory | Fault
    gpu_instance: int | Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class NvLink:
    """An active NVLink and what is at its other end; ``is_switch`` where that is no card but connects all of them."""

    remote_address: str
    is_switch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card. ``link_speed`` is of one link and direction, in megabytes per second."""

    uuid: str
    index: int
    name: str | Fault
    pci_address: str | Fault
    memory: Memory | Fault
    compute_capability: tuple[int, int] | Fault
    architecture: int | Fault
    numa_node: int | None
    partitions: tuple[Partition | Fault, ...]
    links: tuple[NvLink, ...]
    link_speed: int | Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A card of which not even the identity could be read."""

    index: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class Running:
    """A process on a card; bytes are None where NVML does not tell."""

    pid: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measurement of a card or partition: percent, degrees Celsius, milliwatts."""

    uuid: str
    memory: Memory | Fault
    utilization_percent: int | Fault
    temperature_celsius: int | Fault
    power_milliwatts: int | Fault
    processes: tuple[Running, ...]


@dataclass(frozen=True, slots=True)
class RemappedRows:
    """Rows of memory that were or are to be replaced by spare ones."""

    is_pending: bool
    has_failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What tells of a card's health. ``presence`` is None for a card that answers, else why it does not."""

    presence: Fault | None
    uncorrected_errors: int | Fault = 0
    remapped_rows: RemappedRows | Fault = RemappedRows(is_pending=False, has_failed=False)
    retirement_is_pending: bool | Fault = False
    lacks_partitions: bool = False
