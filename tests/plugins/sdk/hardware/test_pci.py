"""The PCI bus as sysfs shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_sdk.hardware import Bus, PciDevice, pci_address, pci_devices, physical_function
from motorpool_sdk.testing.machine import FakeBus


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("00000000:3B:00.0", "0000:3b:00.0"),
        ("0000:0A:00.1", "0000:0a:00.1"),
        ("C1:00.0", "0000:c1:00.0"),
        (" 10000:01:00.0 ", "10000:01:00.0"),
        ("0:ff:1f.7", "0000:ff:1f.7"),
        ("N/A", ""),
        ("0000:100:00.0", ""),
        ("", ""),
    ],
)
def test_addresses_are_the_kernels(written: str, address: str) -> None:
    """
    Vendors write domains of none, four or eight digits, in capitals; what is none is none.
    """
    assert address == pci_address(written)


def test_a_vendors_devices(tmp_path: Path) -> None:
    """
    Each with its class, driver and NUMA node; -1 is no node, and others' devices are not in the list.
    """
    bus = FakeBus(tmp_path)
    bus.add("0000:09:00.0", pci_id="1d94:6210", pci_class="0b4000", driver="hycu", numa_node=1)
    bus.add("0000:01:00.0", pci_id="1d94:1450", pci_class="060400")
    bus.add("0000:02:00.0", pci_id="10de:2330", pci_class="030200")

    assert [
        PciDevice(address="0000:01:00.0", vendor="1d94", device="1450", pci_class="060400", driver="", numa_node=None),
        PciDevice(address="0000:09:00.0", vendor="1d94", device="6210", pci_class="0b4000", driver="hycu", numa_node=1),
    ] == pci_devices("1d94", tmp_path)


def test_a_virtual_function_has_a_card(tmp_path: Path) -> None:
    """
    The kernel links a virtual function to its card; a card, and one in a virtual machine, has no such link.
    """
    bus = FakeBus(tmp_path)
    for address in ("0000:09:00.0", "0000:09:00.1"):
        bus.add(address, pci_id="9999:4000", pci_class="120000")
    (bus.root / "sys/bus/pci/devices/0000:09:00.1/physfn").symlink_to("../0000:09:00.0")

    assert ["0000:09:00.0", ""] == [
        physical_function(address, tmp_path) for address in ("0000:09:00.1", "0000:09:00.0")
    ]


def test_bridges_are_no_cards(tmp_path: Path) -> None:
    """
    A vendor that also makes processors has bridges of its own number on every bus.
    """
    bus = FakeBus(tmp_path)
    bus.add("0000:01:00.0", pci_id="1d94:1450", pci_class="060400")
    bus.add("0000:09:00.0", pci_id="1d94:6210", pci_class="0b4000")

    cards = Bus(pci_vendor="1d94", classes=("03", "0b40"), remedy="", root=tmp_path).cards()

    assert ["0000:09:00.0"] == [card.address for card in cards]


def test_a_half_unreadable_bus(tmp_path: Path) -> None:
    """
    A device that tells nothing of itself, as in some containers, is passed over.
    """
    (tmp_path / "sys/bus/pci/devices/0000:01:00.0").mkdir(parents=True)

    assert [] == pci_devices("1d94", tmp_path)
