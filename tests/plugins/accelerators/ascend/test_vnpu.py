"""Virtual NPUs: parts of a chip that are devices, what they use, and how a container gets one."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_ascend.plugin import Ascend
from motorpool_sdk import Device, Exposure, Health, MemoryKind, Sample
from motorpool_sdk.testing.machine import FakeBus, FakeCommand, FakeLibrary, PluginChild, PluginRaisedError
from tests.plugins.accelerators.ascend.board import DRIVER, MAP, TABLE, address, card
from tests.plugins.accelerators.conftest import StartChild
from tests.plugins.accelerators.harness.rooted import rooted

PACKAGE = "motorpool_ascend"
MIB, GIB = 2**20, 2**30
FIRST, SECOND = address(0), address(1)
# The first chip's physical id is 4: its virtual NPUs are numbered from 100 + 16 * 4.
CUT = card(0, "vdev 164 vir10_3c_32g 32768 0", "vdev 165 vir05_1c_16g 16384 1") + card(1)
ONE, OTHER = f"{FIRST}-vnpu164", f"{FIRST}-vnpu165"


@pytest.fixture(name="plugin")
def make_plugin(dcmi: FakeLibrary, child: StartChild) -> PluginChild:
    """The plugin on two chips, of which the first is cut."""
    dcmi.show(CUT, DRIVER)
    return child(PACKAGE, dcmi.folder)


def test_virtual_npus_are_devices_of_their_chip(plugin: PluginChild) -> None:
    """
    Each is a device with the chip's name, its own memory, and no index; it names its chip, which stays listed.
    """
    devices = plugin.devices()

    assert [FIRST, ONE, OTHER, SECOND] == list(devices)
    assert (
        Device(
            device_id=ONE,
            vendor="ascend",
            framework="cann",
            product="Ascend 910B3 vir10_3c_32g",
            pci_address=FIRST,
            architecture="910b",
            driver_version="25.5.1",
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=32 * GIB,
            partition_of=FIRST,
        )
        == devices[ONE]
    )
    assert (16 * GIB, FIRST) == (devices[OTHER].memory_bytes, devices[OTHER].partition_of)
    assert "" == devices[SECOND].partition_of


@pytest.mark.parametrize(
    ("line", "memory_bytes"),
    [
        ("vdev 164 vir10_4c_16g_m 18446744073709551615 0", 16 * GIB),
        ("vdev 164 vir10_3c_32g 0 0", 32 * GIB),
        ("vdev 164 vir04 0 0", None),
        ("vdev 164 vir04 99999999999 0", None),
    ],
)
def test_memory_that_is_not_told_is_the_templates(
    dcmi: FakeLibrary, plugin: PluginChild, line: str, memory_bytes: int | None
) -> None:
    """
    Where the driver tells no size, a template that has one in its name does; what neither tells, or cannot be, is
    unknown.
    """
    dcmi.show(card(0, line), DRIVER)

    assert memory_bytes == plugin.devices()[ONE].memory_bytes


def test_what_they_use(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    The driver's figures where it has them, in bytes from KiB; else one that no container has is unused, and what one in
    use takes is unknown. The chip's own temperature and power are no part's.
    """
    assert (
        Sample(device_id=ONE, used_bytes=0),
        Sample(device_id=OTHER),
    ) == plugin.sample([ONE, OTHER])

    dcmi.show(card(0, "vdev 164 vir04 0 1", "activity 164 25 12582912 4194303"), DRIVER)
    plugin.fingerprint()
    assert (Sample(device_id=ONE, used_bytes=8388609 * 1024, utilization_ratio=0.25),) == plugin.sample([ONE])


def test_they_are_as_well_as_their_chip(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    An alarm on the chip is one on its parts.
    """
    plugin.fingerprint()
    dcmi.show(card(0, "vdev 164 vir10_3c_32g 32768 0", "health 3"), DRIVER)

    health, (reason,) = plugin.health([ONE])[ONE]

    assert (Health.UNHEALTHY, True) == (health, "critical alarm" in reason)


def test_one_that_is_taken_away_is_gone(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    A virtual NPU that was destroyed is no device any more, and with the last one the chip is whole again.
    """
    plugin.fingerprint()
    dcmi.show(card(0) + card(1), DRIVER)

    assert [FIRST, SECOND] == list(plugin.devices())
    assert "4" == (plugin.expose([FIRST]).container_env or {})["ASCEND_VISIBLE_DEVICES"]


def test_a_container_gets_one(dcmi: FakeLibrary, tmp_path: Path, child: StartChild) -> None:
    """
    Its node under a chip's name, and the words by which Ascend's runtime hands over what was made before; a process
    cannot have it.
    """
    bus = FakeBus(tmp_path / "machine")
    bus.touch("/dev/davinci4", "/dev/davinci_manager", "/dev/vdavinci164", "/dev/vdavinci165", "/usr/local/dcmi/lib")
    dcmi.show(CUT, DRIVER)
    env = rooted(tmp_path / "made", PACKAGE, "Ascend", bus.root)
    plugin = child("rooted", dcmi.folder, module="rooted.plugin", env=env)

    assert Exposure(
        container_env={
            "ASCEND_VISIBLE_DEVICES": "164",
            "ASCEND_RUNTIME_OPTIONS": "VIRTUAL",
            "ASCEND_RT_VISIBLE_DEVICES": "0",
        },
        container_runtime="ascend",
        device_nodes=("/dev/vdavinci164", "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"),
        renamed_nodes={"/dev/vdavinci164": "/dev/davinci164"},
        mounts={"/usr/local/dcmi": "/usr/local/dcmi"},
        container_only="Ascend's driver shows virtual NPU 164 to containers only",
    ) == plugin.expose([ONE])


@pytest.mark.parametrize("device_ids", [[ONE, OTHER], [ONE, SECOND]])
def test_nothing_goes_with_one(plugin: PluginChild, device_ids: list[str]) -> None:
    """
    Two of them, or one and a whole chip, are refused.
    """
    with pytest.raises(PluginRaisedError, match="a partition is handed over alone"):
        plugin.expose(device_ids)


def test_a_chip_that_is_cut_is_not_handed_over(plugin: PluginChild) -> None:
    """
    What its parts have is not given away a second time.
    """
    with pytest.raises(PluginRaisedError, match=f"{FIRST} cannot be handed over: it is divided into partitions"):
        plugin.expose([FIRST])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fault dcmi_get_device_info -8002", "dcmi_get_device_info: -8002 (not permitted)"),
        ("vdevs 33", "told of 33 virtual NPUs, which cannot be"),
        ("fault dcmi_get_device_info -8255", "DCMI tells of none"),
    ],
)
@pytest.mark.promise("P5")
def test_a_chip_whose_parts_cannot_be_read_is_not_used(
    dcmi: FakeLibrary, tmp_path: Path, child: StartChild, line: str, said: str
) -> None:
    """
    Nodes show that it is cut: it is unhealthy, with why nobody tells how and what to do, and its neighbour is well.
    """
    bus = FakeBus(tmp_path / "machine")
    # The last is a chip's that is not here.
    bus.touch("/dev/vdavinci164", "/dev/vdavinci180x", "/dev/vdavinci196")
    dcmi.show(card(0, line) + card(1), DRIVER)
    env = rooted(tmp_path / "made", PACKAGE, "Ascend", bus.root)
    plugin = child("rooted", dcmi.folder, module="rooted.plugin", env=env)

    assert [FIRST, SECOND] == list(plugin.devices())
    report = plugin.health([FIRST, SECOND])
    health, (reason,) = report[FIRST]

    assert (Health.UNHEALTHY, Health.HEALTHY) == (health, report[SECOND][0])
    assert "cut into virtual NPUs (/dev/vdavinci164) that cannot be read: " in reason
    assert said in reason
    with pytest.raises(PluginRaisedError, match="it is cut into virtual NPUs"):
        plugin.expose([FIRST])


@pytest.mark.promise("P5")
def test_a_chip_that_is_not_cut_needs_no_permission(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    Where nobody may ask about parts, and there are no nodes of any, chips are whole as before.
    """
    dcmi.show(card(0, "fault dcmi_get_device_info -8002") + card(1), DRIVER)

    assert [FIRST, SECOND] == list(plugin.devices())
    assert (Health.HEALTHY, ()) == plugin.health([FIRST])[FIRST]


def test_the_command_tells_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where only npu-smi answers, a chip that its nodes show to be cut is not used.
    """
    command = FakeCommand(tmp_path / "bin", "npu-smi")
    command.prints("info", TABLE)
    command.prints("info -m", MAP)
    monkeypatch.setenv("PATH", str(command.folder), prepend=":")
    bus = FakeBus(tmp_path)
    bus.touch(*(f"/dev/davinci{number}" for number in range(8)), "/dev/vdavinci100")
    plugin = Ascend(tmp_path)
    plugin.fingerprint()

    report = plugin.health([FIRST, SECOND])

    assert (Health.UNHEALTHY, Health.HEALTHY) == (report[FIRST][0], report[SECOND][0])
    assert "`npu-smi info` prints none, and libdcmi.so does not answer" in report[FIRST][1][0]
