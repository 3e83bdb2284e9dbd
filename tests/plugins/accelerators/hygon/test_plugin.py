"""The fork of ROCm SMI, the kernel's files, hy-smi, and handing over."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_hygon.hy_smi import ARGUMENTS
from motorpool_hygon.plugin import Hygon
from motorpool_sdk import Device, Exposure, Health, MemoryKind, Sample
from motorpool_sdk.testing.machine import FakeCommand, FakeLibrary, PluginRaisedError
from tests.plugins.accelerators.amd.cards import Kernel, address, card, cards
from tests.plugins.accelerators.conftest import StartChild
from tests.plugins.accelerators.harness.rooted import rooted
from tests.plugins.accelerators.hygon.test_hy_smi import bw

PACKAGE = "motorpool_hygon"
FIRST, SECOND = address(0), address(1)
MIB = 2**20


@pytest.fixture(name="kernel")
def make_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A machine with two DCUs, the board's own display, and a processor's bridge of Hygon's number."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ROCM_PATH", raising=False)
    kernel = Kernel(tmp_path / "machine")
    kernel.serve(
        0, hip=1, mem_info_vram_used="2097152", gpu_busy_percent="12", hwmon__hwmon1__power1_average="564000000"
    )
    kernel.serve(1, hip=0)
    for index in (0, 1):
        (kernel.root / "sys/bus/pci/devices" / address(index) / "driver").unlink()
        kernel.add(address(index), pci_id="1d94:6210", pci_class="0b4000", driver="hycu", numa_node=0)
    kernel.add("0000:01:00.0", pci_id="1d94:1453", pci_class="060400", driver="pcieport")
    kernel.add("0000:02:00.0", pci_id="1a03:2000", pci_class="030000", driver="ast")
    kernel.touch("/sys/module/hycu/version", "/dev/mkfd", "/opt/hyhal/lib/librocm_smi64.so.2", "/opt/dtk/.info/version")
    (kernel.root / "sys/module/hycu/version").write_text("6.3.28-V1.3.0b\n")
    (kernel.root / "opt/dtk/.info/version").write_text("25.04.4\n")
    return kernel


def devices(plugin: Hygon) -> dict[str, Device]:
    return {each.device_id: each for each in plugin.fingerprint() if isinstance(each, Device)}


def test_a_card_is_told_by_the_library_and_the_kernel(
    kernel: Kernel, rsmi: FakeLibrary, tmp_path: Path, child: StartChild
) -> None:
    """
    Name and bytes are the library's; architecture, versions and NUMA node the kernel's and DTK's.
    """
    rsmi.show(card(0, "name K100_AI", "total 68702699520", "vram 4711 5"), "process 4711\n")
    plugin = child(
        "rooted", rsmi.folder, module="rooted.plugin", env=rooted(tmp_path / "made", PACKAGE, "Hygon", kernel.root)
    )

    assert [
        Device(
            device_id=FIRST,
            vendor="hygon",
            framework="dtk",
            product="K100_AI",
            index=0,
            pci_address=FIRST,
            architecture="gfx90a",
            driver_version="6.3.28-V1.3.0b",
            runtime_version="25.04.4",
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=68702699520,
            numa_node=0,
        )
    ] == plugin.fingerprint()
    (sample,) = plugin.sample([FIRST])
    assert (10850304, 0.37, 43.0, 101.0) == (
        sample.used_bytes,
        sample.utilization_ratio,
        sample.temperature_celsius,
        sample.power_watts,
    )
    assert (Health.HEALTHY, ()) == plugin.health([FIRST])[FIRST]


@pytest.mark.promise("P5")
def test_one_bad_card_loses_one_card(rsmi: FakeLibrary, child: StartChild) -> None:
    """
    A card without an address is an error, one with nonsense loses figures, one that vanished stays listed.
    """
    plugin = child(PACKAGE, rsmi.folder)
    rsmi.show(cards(3))
    plugin.fingerprint()

    rsmi.show(card(0, "used 99999999999999", "busy 900") + card(1, "fault rsmi_dev_pci_id_get 15"))

    assert {FIRST: 68702699520, SECOND: None, address(2): None} == {
        key: device.memory_bytes for key, device in plugin.devices().items()
    }
    assert Sample(device_id=FIRST, temperature_celsius=43.0, power_watts=101.0) == plugin.sample([FIRST])[0]
    assert Health.UNHEALTHY is plugin.health([SECOND])[SECOND][0]

    rsmi.show(cards(3))
    assert {68702699520} == {device.memory_bytes for device in plugin.devices().values()}


def test_the_kernel_answers_without_a_library(kernel: Kernel) -> None:
    """
    Hycu's files tell the same; bridges and displays are no cards.
    """
    plugin = Hygon(kernel.root)

    assert {FIRST, SECOND} == set(devices(plugin))
    assert [Sample(device_id=FIRST, used_bytes=2 * MIB, utilization_ratio=0.12, power_watts=564.0)] == plugin.sample(
        [FIRST]
    )


def test_cards_are_handed_over_as_hip_counts(kernel: Kernel) -> None:
    """
    A process gets HIP's numbers; a container the cards' own nodes, whatever the board's display is called, and hyhal.
    """
    exposure = Hygon(kernel.root).expose([FIRST])

    assert (
        Exposure(
            env={"HIP_VISIBLE_DEVICES": "1"},
            container_env={"DCU_VISIBLE_DEVICES": "0"},
            device_nodes=("/dev/kfd", "/dev/mkfd", "/dev/dri/card1", "/dev/dri/renderD128"),
            mounts={"/opt/hyhal": "/opt/hyhal"},
            groups=exposure.groups,
            cdi_devices=("hygon.com/dcu=0",),
        )
        == exposure
    )
    assert exposure.groups


def test_hy_smi_answers_where_nothing_else_does(tmp_path: Path, child: StartChild) -> None:
    """
    The command's cards have the same names, and all of a round comes from one run.
    """
    command = FakeCommand(tmp_path / "bin", "hy-smi")
    command.prints(" ".join(ARGUMENTS), bw())
    plugin = child(PACKAGE, command.folder)

    found = plugin.devices()
    (sample,) = plugin.sample(["0000:36:00.0"])

    assert {"0000:09:00.0": "BW", "0000:36:00.0": "BW"} == {key: device.product for key, device in found.items()}
    assert 9651 * MIB == sample.used_bytes
    assert [" ".join(ARGUMENTS)] == command.asked


def test_cards_without_a_driver_are_listed_as_unhealthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A co-processor on the bus without its module has a name, no memory, and everybody's reason.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    bus = Kernel(tmp_path)
    bus.add(FIRST, pci_id="1d94:6210", pci_class="0b4000")
    plugin = Hygon(tmp_path)

    assert {FIRST: "K100_AI"} == {key: device.product for key, device in devices(plugin).items()}
    health, (reason,) = plugin.health([FIRST])[FIRST]
    assert Health.UNHEALTHY is health
    for said in (
        "no kernel driver is bound",
        "librocm_smi64.so.2",
        "hy-smi is neither on PATH",
        "load the kernel module",
    ):
        assert said in reason


def test_text_that_is_no_json_is_quoted(tmp_path: Path, child: StartChild) -> None:
    """
    What hy-smi says when it cannot work is in the error.
    """
    command = FakeCommand(tmp_path / "bin", "hy-smi")
    command.prints(" ".join(ARGUMENTS), "Open mkfd failed")

    with pytest.raises(PluginRaisedError, match="`hy-smi` printed no cards in JSON, but 'Open mkfd failed'"):
        child(PACKAGE, command.folder).fingerprint()
