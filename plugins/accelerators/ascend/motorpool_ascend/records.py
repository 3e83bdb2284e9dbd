"""What DCMI or npu-smi say of a chip, before anybody makes sense of it. What was not answered is None, or empty."""

from __future__ import annotations

from dataclasses import dataclass

# Of dcmi_get_topo_info_by_device_id: what is more than the way over PCIe and the processors.
LINKS = {3: "HCCS", 6: "SIO", 7: "HCCS_SW"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Mebibytes. ``is_hbm`` tells a chip's own HBM from a board's DDR."""

    total_mebibytes: int
    used_mebibytes: int | None
    is_hbm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Virtual:
    """A virtual NPU (vNPU): N of vdavinciN, and the template that it was cut by, such as ``vir10_3c_16g``.

    ``is_taken`` tells whether a container has it; None where nobody tells.
    """

    vdev_id: int
    template: str
    total_mebibytes: int | None
    is_taken: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """One chip. A board is a card of one or more; ``logic_id`` counts what CANN sees, ``phy_id`` is N of davinciN.

    ``links`` are of this chip to others, by their card and chip. With ``virtual`` it is a part of the chip, and not the
    chip; ``trouble`` says why a chip cannot be used though it is well.
    """

    card_id: int
    chip_id: int
    logic_id: int | None
    phy_id: int | None
    name: str = ""
    npu_name: str = ""
    pci_address: str = ""
    memory: Memory | None = None
    driver_version: str = ""
    numa_node: int | None = None
    network_address: str = ""
    links: tuple[tuple[int, int, str], ...] = ()
    virtual: Virtual | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A process on a chip; bytes are None where nobody tells."""

    pid: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One measurement of a chip: percent, degrees Celsius, watts."""

    memory: Memory | None = None
    utilization_percent: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    processes: tuple[Running, ...] = ()
