"""What the kernel shows of the PCI bus: cards are seen there though no driver serves them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_ADDRESS = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-9a-f])")


@dataclass(frozen=True, slots=True, kw_only=True)
class PciDevice:
    """One function of a device on the bus; ``driver`` is empty where no kernel driver is bound to it."""

    address: str
    vendor: str
    device: str
    pci_class: str
    driver: str
    numa_node: int | None


def pci_devices(vendor: str, root: Path = Path("/")) -> list[PciDevice]:
    """Return the devices of a vendor (four hexadecimal digits), by address."""
    found = []
    for folder in sorted(root.glob("sys/bus/pci/devices/*")):
        if _hexadecimal(folder / "vendor") == vendor:
            driver = folder / "driver"
            found.append(
                PciDevice(
                    address=folder.name,
                    vendor=vendor,
                    device=_hexadecimal(folder / "device"),
                    pci_class=_hexadecimal(folder / "class"),
                    driver=driver.resolve().name if driver.exists() else "",
                    numa_node=numa_node(folder.name, root),
                )
            )
    return found


def pci_vendor_of(address: str, root: Path = Path("/")) -> str:
    """Return the vendor of the device at an address, empty where the kernel does not tell."""
    return _hexadecimal(root / "sys/bus/pci/devices" / address / "vendor")


def pci_address(written: str) -> str:
    """Return an address as the kernel writes it, ``0000:3b:00.0``; empty for what is none."""
    match = _ADDRESS.fullmatch(written.strip().lower())
    if match is None:
        return ""
    domain, bus, device, function = match.groups()
    return f"{int(domain or '0', 16):04x}:{int(bus, 16):02x}:{int(device, 16):02x}.{int(function, 16):x}"


def physical_function(address: str, root: Path = Path("/")) -> str:
    """Return the address of the card that a virtual function is part of; empty where the kernel does not tell."""
    link = root / "sys/bus/pci/devices" / address / "physfn"
    return pci_address(link.resolve().name) if link.exists() else ""


def numa_node(address: str, root: Path = Path("/")) -> int | None:
    """Return the NUMA node of a PCI device, None where the machine has none or does not tell."""
    try:
        node = int((root / "sys/bus/pci/devices" / address / "numa_node").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return node if address and node >= 0 else None


def _hexadecimal(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip().lower().removeprefix("0x")
    except (OSError, ValueError):
        return ""
