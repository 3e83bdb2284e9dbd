"""Virtual DCUs: parts of a card that are devices, what they use, and how a container gets one."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_sdk import Device, Exposure, Health, MemoryKind, Sample
from motorpool_sdk.testing.machine import FakeBus, FakeLibrary, PluginChild, PluginRaisedError, compile_library
from tests.plugins.accelerators.conftest import StartChild
from tests.plugins.accelerators.harness.rooted import rooted
from tests.plugins.accelerators.hygon.cards import address, card

PACKAGE = "motorpool_hygon"
SOURCE = Path(__file__).with_name("fake_hydmi.c")
GIB = 2**30
FIRST, SECOND = address(0), address(1)
ONE, OTHER = f"{FIRST}-vdcu0", f"{FIRST}-vdcu3"
# As Hygon's device plugin and hy-smi write it.
CONF = """PciBusId: {address}
cu_mask: 0x000000000000ffff
cu_mask: 0x0000000000000000
cu_count: {units}
mem: {mebibytes} MiB
device_id: 0
vdev_id: {number}
pipe_id: 0
enable: 1
"""


class Machine(FakeBus):
    """A machine's files, with virtual DCUs."""

    def divide(self, number: int, mebibytes: int, units: int = 16, text: str = CONF) -> None:
        """Write a virtual DCU of the first card."""
        folder = self.root / "etc/vdev"
        folder.mkdir(parents=True, exist_ok=True)
        written = text.format(address=FIRST.upper(), units=units, mebibytes=mebibytes, number=number)
        (folder / f"vdev{number}.conf").write_text(written)


@pytest.fixture(name="machine")
def make_machine(tmp_path: Path) -> Machine:
    """A machine whose first card is divided."""
    machine = Machine(tmp_path / "machine")
    machine.touch("/dev/kfd", "/dev/mkfd", "/opt/hyhal/lib/x")
    machine.divide(0, 16384)
    machine.divide(3, 8192, units=5)
    return machine


@pytest.fixture(scope="session", name="compiled_hydmi")
def make_compiled_hydmi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that tells of virtual DCUs."""
    return compile_library(SOURCE, tmp_path_factory.mktemp("hydmi") / "libhydmi.so.1")


@pytest.fixture(name="hydmi")
def make_hydmi(tmp_path: Path, compiled_hydmi: Path) -> FakeLibrary:
    """The library in a folder of the test's own, with two virtual DCUs."""
    library = FakeLibrary(tmp_path / "hydmi", compiled_hydmi)
    library.show("vdev 0\nused 1234567\nbusy 41\nvdev 3\nused 0\nbusy 0\n", "")
    return library


@pytest.fixture(name="plugin")
def make_plugin(
    rsmi: FakeLibrary, hydmi: FakeLibrary, machine: Machine, tmp_path: Path, child: StartChild
) -> PluginChild:
    """The plugin on two cards, of which the first is divided."""
    rsmi.show(card(0, "name K100_AI") + card(1, "name K100_AI"))
    env = rooted(tmp_path / "made", PACKAGE, "Hygon", machine.root)
    return child("rooted", rsmi.folder, hydmi.folder, module="rooted.plugin", env=env)


def test_virtual_dcus_are_devices_of_their_card(plugin: PluginChild) -> None:
    """
    Each is a device with its own memory and figures, and no index; it names its card, which stays listed.
    """
    devices = plugin.devices()

    assert [FIRST, ONE, OTHER, SECOND] == list(devices)
    assert (
        Device(
            device_id=ONE,
            vendor="hygon",
            framework="dtk",
            product="K100_AI vDCU, 16 units",
            pci_address=FIRST,
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=16 * GIB,
            partition_of=FIRST,
        )
        == devices[ONE]
    )
    assert 8 * GIB == devices[OTHER].memory_bytes
    assert (
        Sample(device_id=ONE, used_bytes=1234567, utilization_ratio=0.41),
        Sample(device_id=OTHER, used_bytes=0, utilization_ratio=0.0),
    ) == plugin.sample([ONE, OTHER])
    assert (Health.HEALTHY, ()) == plugin.health([ONE])[ONE]


@pytest.mark.parametrize("scenario", ["", "vdev 0\nfault dmiGetVDeviceInfo 7\n"])
@pytest.mark.promise("P5")
def test_what_is_not_told_of_one_is_unknown(hydmi: FakeLibrary, plugin: PluginChild, scenario: str) -> None:
    """
    Where libhydmi does not know it, or fails, what it uses is unknown, never 0, and nothing is placed on it.
    """
    hydmi.show(scenario, "")
    plugin.fingerprint()

    assert (Sample(device_id=ONE),) == plugin.sample([ONE])


def test_a_container_gets_one(plugin: PluginChild) -> None:
    """
    The card's nodes, and the file that holds the runtime in it to its part; a process cannot have it, nor two, nor
    anybody the whole.
    """
    exposure = plugin.expose([OTHER])

    assert (
        Exposure(
            container_env={"DCU_VISIBLE_DEVICES": "void"},
            device_nodes=exposure.device_nodes,
            mounts={"/opt/hyhal": "/opt/hyhal", "/etc/vdev/vdev3.conf": "/etc/vdev/docker/vdev3.conf"},
            groups=exposure.groups,
            container_only="Hygon's runtime holds to virtual DCU 3 where /etc/vdev/docker has its file, as in a "
            "container",
        )
        == exposure
    )
    assert {"/dev/kfd", "/dev/mkfd"} < set(exposure.device_nodes)
    with pytest.raises(PluginRaisedError, match="a partition is handed over alone"):
        plugin.expose([ONE, OTHER])
    with pytest.raises(PluginRaisedError, match="it is divided into partitions"):
        plugin.expose([FIRST])


def test_one_that_is_taken_away_is_gone(machine: Machine, plugin: PluginChild) -> None:
    """
    With its file a virtual DCU is gone, and with the last one the card is whole again.
    """
    plugin.fingerprint()
    for number in (0, 3):
        (machine.root / f"etc/vdev/vdev{number}.conf").unlink()

    assert [FIRST, SECOND] == list(plugin.devices())
    assert "HIP_VISIBLE_DEVICES" in plugin.expose([FIRST]).env


@pytest.mark.parametrize("text", ["", "mem: 4 GiB\n", "PciBusId: anywhere\nmem: 1024 MiB\n", "\ufffd\x00"])
@pytest.mark.promise("P5")
def test_a_file_that_names_no_card_costs_all_that_it_may_be_of(
    machine: Machine, plugin: PluginChild, text: str
) -> None:
    """
    A card that it may divide is not used, with the file's name and what to do; one whose parts are known is told as
    before.
    """
    machine.divide(7, 0, text=text)

    assert [FIRST, ONE, OTHER, SECOND] == list(plugin.devices())
    report = plugin.health([FIRST, SECOND])
    assert [Health.HEALTHY, Health.UNHEALTHY] == [report[key][0] for key in (FIRST, SECOND)]
    assert "/etc/vdev/vdev7.conf cannot be read, and may divide it" in report[SECOND][1][0]


def test_memory_that_is_not_told_is_unknown(machine: Machine, plugin: PluginChild) -> None:
    """
    A file without a size that can be has a virtual DCU without one.
    """
    machine.divide(0, 16384, text="PciBusId: {address}\nmem: much\ncu_count: many\n")

    device = plugin.devices()[ONE]

    assert ("K100_AI vDCU", None, None) == (device.product, device.memory_kind, device.memory_bytes)
