"""Measurements, health, handing over, and what answers where the library does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_ascend.plugin import Ascend
from motorpool_sdk import Device, Exposure, Health, Process, Sample
from motorpool_sdk.hardware import Unavailable
from motorpool_sdk.testing.machine import FakeBus, FakeCommand, FakeLibrary, PluginChild, PluginRaisedError
from tests.plugins.accelerators.ascend.board import DRIVER, address, card, cards
from tests.plugins.accelerators.conftest import StartChild

PACKAGE = "motorpool_ascend"
MIB = 2**20
FIRST, SECOND = address(0), address(1)
RECORDINGS = Path(__file__).parent / "recordings"


@pytest.fixture(name="plugin")
def make_plugin(dcmi: FakeLibrary, child: StartChild) -> PluginChild:
    """The plugin on two cards."""
    dcmi.show(cards(2), DRIVER)
    return child(PACKAGE, dcmi.folder)


@pytest.fixture(name="npu_smi")
def make_npu_smi(tmp_path: Path) -> FakeCommand:
    """An npu-smi of eight 910B3."""
    command = FakeCommand(tmp_path / "bin", "npu-smi")
    command.prints("info", (RECORDINGS / "info_910b3_24.1.rc1.txt").read_text())
    command.prints("info -m", (RECORDINGS / "map_910b.txt").read_text())
    return command


def test_a_chip_is_measured(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    Bytes, ratio, degrees, watts, and the processes on it with theirs.
    """
    dcmi.show(card(0, "process 4711 60060336128", "process 0 3", used=57280), DRIVER)

    assert (
        Sample(
            device_id=FIRST,
            used_bytes=57280 * MIB,
            utilization_ratio=0.37,
            temperature_celsius=43.0,
            power_watts=101.8,
            processes=(Process(pid=4711, used_bytes=60060336128),),
        ),
    ) == plugin.sample([FIRST])


@pytest.mark.promise("P5")
def test_unknown_figures_are_none(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    Each figure that a chip does not tell is None, never 0.
    """
    plugin.fingerprint()
    dcmi.show(card(0, "fault all -8255") + card(1), DRIVER)

    assert Sample(device_id=FIRST) == plugin.sample([FIRST, SECOND])[0]


@pytest.mark.parametrize(
    ("state", "health", "said"),
    [
        (0, Health.HEALTHY, ""),
        (1, Health.HEALTHY, "general warning"),
        (2, Health.UNHEALTHY, "important alarm"),
        (3, Health.UNHEALTHY, "critical alarm"),
        (0xFFFFFFFF, Health.UNHEALTHY, "does not find this chip"),
        (77, Health.UNKNOWN, "77, which is no state"),
    ],
)
def test_the_drivers_word_is_health(
    dcmi: FakeLibrary, plugin: PluginChild, state: int, health: Health, said: str
) -> None:
    """
    Warnings leave a chip in use, alarms do not, and a number that is no state is no news.
    """
    dcmi.show(card(0, f"health {state}") + card(1), DRIVER)
    report = plugin.health([FIRST, SECOND])

    assert (health, True) == (report[FIRST][0], said in "".join(report[FIRST][1]))
    assert (Health.HEALTHY, ()) == report[SECOND]


def test_health_that_is_not_told_is_unknown(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    The reason names the function and its code.
    """
    dcmi.show(card(0, "fault dcmi_get_device_health -8012") + card(1), DRIVER)

    assert (Health.UNKNOWN, ("dcmi_get_device_health: -8012 (not ready)",)) == plugin.health([FIRST])[FIRST]


def test_chips_are_handed_over(plugin: PluginChild) -> None:
    """
    A process is told CANN's numbers in ascending order; a container gets the physical ids' nodes, and counts from 0.
    """
    assert Exposure(
        env={"ASCEND_RT_VISIBLE_DEVICES": "0,1"},
        container_env={"ASCEND_VISIBLE_DEVICES": "4,5", "ASCEND_RT_VISIBLE_DEVICES": "0,1"},
        container_runtime="ascend",
        device_nodes=(
            *("/dev/davinci4", "/dev/davinci5", "/dev/davinci_manager"),
            *("/dev/devmm_svm", "/dev/hisi_hdc"),
        ),
        cdi_devices=("huawei.com/npu=4", "huawei.com/npu=5"),
    ) == plugin.expose([SECOND, FIRST])
    assert {"ASCEND_RT_VISIBLE_DEVICES": "1"} == plugin.expose([SECOND]).env
    assert {"ASCEND_VISIBLE_DEVICES": "5", "ASCEND_RT_VISIBLE_DEVICES": "0"} == plugin.expose([SECOND]).container_env


def test_numbers_are_those_of_now(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    A chip whose logic id changed since it was listed is handed over by the new one.
    """
    plugin.fingerprint()
    dcmi.show(card(0, "logic 1", "phy 9") + card(1, "logic 0", "phy 8"), DRIVER)

    assert {"ASCEND_RT_VISIBLE_DEVICES": "1"} == plugin.expose([FIRST]).env


def test_the_command_answers_without_a_library(npu_smi: FakeCommand, child: StartChild) -> None:
    """
    Where libdcmi.so is not installed npu-smi tells the same cards by the same names, and the reason is kept.
    """
    plugin = child(PACKAGE, npu_smi.folder)

    devices = plugin.devices()
    (sample,) = plugin.sample([SECOND])
    library, command = plugin.sources()

    assert (8, 0, "910b") == (len(devices), devices[FIRST].index, devices[FIRST].architecture)
    assert (3314 * MIB, 92.0) == (sample.used_bytes, sample.power_watts)
    assert (Health.HEALTHY, ()) == plugin.health([FIRST])[FIRST]
    assert "libdcmi.so: cannot open shared object file" in library.failure
    assert (True, str(npu_smi.folder / "npu-smi"), "") == (command.in_use, command.path, command.failure)
    # Devices, health and figures of eight cards came from one run of each.
    assert ["info", "info -m"] == npu_smi.asked


@pytest.mark.parametrize("code", [-8002, -8005, -8012])
def test_a_driver_that_refuses_says_what_to_do(dcmi: FakeLibrary, child: StartChild, code: int) -> None:
    """
    Where neither the library nor the command answers, the error has both reasons, and a way out.
    """
    dcmi.show(cards(1), f"init {code}\n")
    plugin = child(PACKAGE, dcmi.folder, env={"PATH": "/nowhere"})

    with pytest.raises(PluginRaisedError, match=rf"dcmi_init: {code} .*group HwHiAiUser.*npu-smi is neither on PATH"):
        plugin.fingerprint()


def test_a_command_that_prints_something_else_is_quoted(npu_smi: FakeCommand, child: StartChild) -> None:
    """
    Text that is no table, as a failing driver's or another language's, is told as it came.
    """
    npu_smi.prints("info", "DCMI 模块初始化失败 ret=-8005")

    with pytest.raises(PluginRaisedError, match=r"`npu-smi info` printed no table of chips, but 'DCMI 模块"):
        child(PACKAGE, npu_smi.folder).fingerprint()


def test_cards_without_a_driver_are_listed_as_unhealthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What only the PCI bus shows has a name, no memory, and everybody's reason; network cards of Huawei are none.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    bus = FakeBus(tmp_path)
    bus.add(FIRST, pci_id="19e5:d802", pci_class="120000", numa_node=6)
    bus.add("0000:02:00.0", pci_id="19e5:0222", pci_class="020000", driver="hinic")
    plugin = Ascend(tmp_path)

    assert [
        Device(device_id=FIRST, vendor="ascend", framework="cann", product="Ascend 910", pci_address=FIRST, numa_node=6)
    ] == plugin.fingerprint()
    health, (reason,) = plugin.health([FIRST])[FIRST]
    assert Health.UNHEALTHY is health
    for said in ("no kernel driver is bound", "libdcmi.so", "npu-smi is neither on PATH", "install Ascend's driver"):
        assert said in reason
    with pytest.raises(LookupError, match=f"{FIRST} cannot be handed over: the card is on the PCI bus"):
        plugin.expose([FIRST])


def test_an_empty_machine_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without cards, library or command there is nothing, and the reasons are told.
    """
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Unavailable, match=r"libdcmi\.so cannot be loaded"):
        Ascend(tmp_path).fingerprint()


def test_a_container_gets_what_its_host_has(
    tmp_path: Path, npu_smi: FakeCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Nodes and mounts are those that are there, the manager of a containers' host under its own name; physical ids are
    the nodes' where npu-smi does not print them.
    """
    monkeypatch.setenv("PATH", str(npu_smi.folder), prepend=":")
    bus = FakeBus(tmp_path)
    bus.touch(*(f"/dev/davinci{number}" for number in (8, 9, 10, 11, 12, 13, 14, 15)))
    bus.touch("/dev/davinci_manager_docker", "/dev/dvpp_cmdlist", "/usr/local/dcmi/libdcmi.so")
    bus.touch("/usr/local/Ascend/driver/version.info", "/etc/hccn.conf")

    exposure = Ascend(tmp_path).expose([address(1), FIRST])

    assert (
        *("/dev/davinci8", "/dev/davinci9", "/dev/davinci_manager_docker"),
        *("/dev/devmm_svm", "/dev/hisi_hdc", "/dev/dvpp_cmdlist"),
    ) == exposure.device_nodes
    assert {"/dev/davinci_manager_docker": "/dev/davinci_manager"} == exposure.renamed_nodes
    assert {"/usr/local/dcmi", "/usr/local/Ascend/driver/version.info", "/etc/hccn.conf"} == set(exposure.mounts)


def test_versions_stand_in_files(tmp_path: Path, npu_smi: FakeCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    CANN's version is its toolkit's, found by its variable or where it is installed.
    """
    monkeypatch.setenv("PATH", str(npu_smi.folder), prepend=":")
    monkeypatch.delenv("ASCEND_TOOLKIT_HOME", raising=False)
    toolkit = tmp_path / "usr/local/Ascend/ascend-toolkit/latest"
    toolkit.mkdir(parents=True)
    installed = "package_name=Ascend-cann-toolkit\nversion=8.5.0\narch=aarch64\n"
    (toolkit / "ascend_toolkit_install.info").write_text(installed)

    versions = {device.runtime_version for device in Ascend(tmp_path).fingerprint() if isinstance(device, Device)}

    assert {"8.5.0"} == versions
