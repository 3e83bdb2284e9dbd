"""Small readings that need no card."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_nvidia.driver import numa_node, pci_address


@pytest.mark.parametrize(
    ("bus_id", "address"),
    [
        ("00000000:3B:00.0", "0000:3b:00.0"),
        ("0000:0A:00.0", "0000:0a:00.0"),
        ("00010000:01:00.0", "10000:01:00.0"),
        ("0009:01:00.0", "0009:01:00.0"),
    ],
)
def test_addresses_are_the_kernels(bus_id: str, address: str) -> None:
    """
    NVML writes eight digits of the domain, the kernel at least four.
    """
    assert address == pci_address(bus_id)


@pytest.mark.parametrize(("text", "node"), [("1\n", 1), ("-1\n", None), ("", None), (None, None)])
def test_numa_nodes_are_the_kernels(tmp_path: Path, text: str | None, node: int | None) -> None:
    """
    A card's NUMA node stands in sysfs; -1 and no file mean that there is none.
    """
    device = tmp_path / "0000:3b:00.0"
    device.mkdir()
    if text is not None:
        (device / "numa_node").write_text(text)

    assert node == numa_node("0000:3b:00.0", tmp_path)
