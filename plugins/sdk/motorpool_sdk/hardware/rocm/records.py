"""What ROCm SMI, amdgpu's files or the commands say of a card. What was not answered is None, or empty."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card, or one partition of a card: those share an address. ``index`` counts as AMD's tools do, by address.

    ``hip_index`` counts as HIP does, ``graphics`` is what compilers call it (gfx942), ``links`` are of this card to
    others, by their index.
    """

    index: int
    pci_address: str
    partition: int = 0
    unique_id: int = 0
    hip_index: int | None = None
    name: str = ""
    graphics: str = ""
    is_apu: bool = False
    total_bytes: int | None = None
    driver_version: str = ""
    numa_node: int | None = None
    links: tuple[tuple[int, str], ...] = ()
    render_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A process on a card; bytes are None where nobody tells."""

    pid: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One measurement of a card."""

    used_bytes: int | None = None
    total_bytes: int | None = None
    utilization_percent: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    processes: tuple[Running, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Uncorrectable memory errors by the block of the chip that counted them, and the questions that failed."""

    uncorrectable: tuple[tuple[str, int], ...] = ()
    failures: tuple[str, ...] = ()
