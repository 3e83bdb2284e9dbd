"""MXSML, mx-smi, the bus, and handing over."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_metax.plugin import Metax
from motorpool_sdk import Device, Exposure, Health, Link, MemoryKind, Process, Sample
from motorpool_sdk.testing.machine import FakeBus, FakeCommand, FakeLibrary, PluginChild, PluginRaisedError
from tests.plugins.accelerators.conftest import StartChild
from tests.plugins.accelerators.harness.rooted import rooted
from tests.plugins.accelerators.metax.cards import FIRST_LINES, address, card, cards

PACKAGE = "motorpool_metax"
FIRST, SECOND = address(0), address(1)
KIB, MIB = 2**10, 2**20
RECORDINGS = Path(__file__).parent / "recordings"


@pytest.fixture(name="plugin")
def make_plugin(mxsml: FakeLibrary, child: StartChild) -> PluginChild:
    """The plugin, on two cards."""
    mxsml.show(cards(2), FIRST_LINES)
    return child(PACKAGE, mxsml.folder)


@pytest.fixture(name="mx_smi")
def make_mx_smi(tmp_path: Path) -> FakeCommand:
    """An mx-smi of eight C500."""
    command = FakeCommand(tmp_path / "bin", "mx-smi")
    command.prints("", (RECORDINGS / "table_c500_2.2.9.txt").read_text())
    return command


def test_a_card_is_told_whole(mxsml: FakeLibrary, plugin: PluginChild) -> None:
    """
    Everything that MXSML tells of a card stands in its device, in bytes.
    """
    mxsml.show(card(), FIRST_LINES)

    assert [
        Device(
            device_id=FIRST,
            vendor="metax",
            framework="maca",
            product="MetaX C500",
            index=0,
            pci_address=FIRST,
            driver_version="3.4.4",
            runtime_version="3.3.0.15",
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=65536 * MIB,
        )
    ] == plugin.fingerprint()


def test_a_card_is_measured(mxsml: FakeLibrary, plugin: PluginChild) -> None:
    """
    Bytes, ratio, degrees, the watts of all ways together, and processes with what they have on this card.
    """
    mxsml.show(card(0, "process 4711 1500", "process 4712 7", used=2000))

    assert (
        Sample(
            device_id=FIRST,
            used_bytes=2000 * KIB,
            utilization_ratio=0.37,
            temperature_celsius=35.5,
            power_watts=101.0,
            processes=(Process(pid=4711, used_bytes=1500), Process(pid=4712, used_bytes=7)),
        ),
    ) == plugin.sample([FIRST])


def test_load_of_the_n_class_is_another_blocks(mxsml: FakeLibrary, plugin: PluginChild) -> None:
    """
    Cards of class N compute elsewhere than those of class C.
    """
    mxsml.show(card(0, "brand 1", "dla 12"))
    plugin.fingerprint()

    assert 0.12 == plugin.sample([FIRST])[0].utilization_ratio


@pytest.mark.promise("P5")
def test_unknown_figures_are_none(mxsml: FakeLibrary, plugin: PluginChild) -> None:
    """
    Each figure that a card does not tell is None, never 0; the other card's are told.
    """
    plugin.fingerprint()
    mxsml.show(card(0, "fault all 3") + card(1))

    first, second = plugin.sample([FIRST, SECOND])

    assert Sample(device_id=FIRST) == first
    assert 845824 * KIB == second.used_bytes


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        (("used 9999999999",), "used_bytes"),
        (("used -5",), "used_bytes"),
        (("xcore 4000",), "utilization_ratio"),
        (("temperature 9999999",), "temperature_celsius"),
        (("way 4294967295",), "power_watts"),
    ],
)
@pytest.mark.promise("P5")
def test_figures_that_cannot_be_are_unknown(
    mxsml: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], field: str
) -> None:
    """
    More used than there is, or less than nothing, 4000 % or 99999 °C are no figures; the others stand.
    """
    (whole,) = plugin.sample([FIRST])

    mxsml.show(card(0, *lines) + card(1))
    (less,) = plugin.sample([FIRST])

    assert None is getattr(less, field)
    assert {field} == {name for name in type(whole).__slots__ if getattr(whole, name) != getattr(less, name)}


@pytest.mark.parametrize(
    ("lines", "field", "unknown"),
    [
        (("name \udcff\udcfe",), "product", ""),
        (("fault mxSmlGetMemoryInfo 1",), "memory_bytes", None),
        (("total -1",), "memory_bytes", None),
        (("fault mxSmlGetDeviceVersion 1",), "driver_version", ""),
    ],
)
@pytest.mark.promise("P5")
def test_one_unknown_field_loses_one_field(
    mxsml: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], field: str, unknown: object
) -> None:
    """
    A question that is not answered, or with nonsense, leaves that field unknown, and all others as they are.
    """
    whole = plugin.devices()[FIRST]

    mxsml.show(card(0, *lines) + card(1), FIRST_LINES)
    less = plugin.devices()[FIRST]

    assert unknown == getattr(less, field)
    assert {name for name in Device.__slots__ if getattr(whole, name) != getattr(less, name)} <= {field, "memory_kind"}


@pytest.mark.promise("P5")
def test_one_bad_card_loses_one_card(mxsml: FakeLibrary, plugin: PluginChild) -> None:
    """
    A card that was known stays listed while it cannot be read, one that was not is an error, each beside the others.
    """
    plugin.fingerprint()
    mxsml.show(card(0) + card(1, "fault mxSmlGetDeviceInfo 4") + "card nowhere\n")

    assert {FIRST: 65536 * MIB, SECOND: None} == {key: device.memory_bytes for key, device in plugin.devices().items()}
    assert Health.UNHEALTHY is plugin.health([SECOND])[SECOND][0]
    assert {
        "index 1": "mxSmlGetDeviceInfo: 4 (sysfs cannot be read)",
        "index 2": "mxSmlGetDeviceInfo: told of the address 'nowhere', which is none",
    } == plugin.errors()

    mxsml.show(cards(2))
    assert {65536 * MIB} == {device.memory_bytes for device in plugin.devices().values()}


@pytest.mark.parametrize(
    ("lines", "health", "said"),
    [
        ((), Health.HEALTHY, ""),
        (("state 0", "reason firmware hangs"), Health.UNHEALTHY, "not available: firmware hangs; see `mx-smi`"),
        (("ecc 0 2 1",), Health.UNHEALTHY, "2 uncorrectable ECC errors, 1 retired pages"),
        (("fault mxSmlGetTotalEccErrors 3",), Health.HEALTHY, ""),
        (("fault mxSmlGetTotalEccErrors 1",), Health.UNKNOWN, "mxSmlGetTotalEccErrors: 1 (failed)"),
        (("fault mxSmlGetDeviceState 4",), Health.UNKNOWN, "mxSmlGetDeviceState: 4 (sysfs cannot be read)"),
    ],
)
def test_state_and_errors_are_health(
    mxsml: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], health: Health, said: str
) -> None:
    """
    A card that is not available, or has uncorrectable errors, is unhealthy; what is not told is no good news.
    """
    mxsml.show(card(0, *lines) + card(1))
    report = plugin.health([FIRST, SECOND])

    assert (health, True) == (report[FIRST][0], said in "".join(report[FIRST][1]))
    assert (Health.HEALTHY, ()) == report[SECOND]


def test_links_are_metaxlink(mxsml: FakeLibrary, plugin: PluginChild) -> None:
    """
    Cards of one group are linked; the way over PCIe is no link.
    """
    mxsml.show(card(0, f"link {SECOND} 5") + card(1, f"link {FIRST} 5") + card(2))
    devices = plugin.devices()

    assert (Link(device_id=SECOND, kind="MetaXLink"),) == devices[FIRST].links
    assert () == devices[address(2)].links


def test_an_old_driver_tells_less(tmp_path: Path, old_compiled: Path, child: StartChild) -> None:
    """
    Without a newer driver's functions the rest is told; its library has no number.
    """
    mxsml = FakeLibrary(tmp_path / "old", old_compiled)
    mxsml.show(card(0, "process 4711 5"), FIRST_LINES)
    plugin = child(PACKAGE, mxsml.folder)

    assert (65536 * MIB, "") == (plugin.devices()[FIRST].memory_bytes, plugin.devices()[FIRST].runtime_version)
    assert () == plugin.sample([FIRST])[0].processes
    assert (Health.HEALTHY, ()) == plugin.health([FIRST])[FIRST]


def test_virtual_cards_are_partitions_of_their_card(mxsml: FakeLibrary, tmp_path: Path, child: StartChild) -> None:
    """
    A virtual card names the card that the kernel says it is part of, in a virtual machine none; a whole card has none.
    """
    bus = FakeBus(tmp_path / "machine")
    for index in (0, 1, 2):
        bus.add(address(index), pci_id="9999:4000", pci_class="120000", driver="metax")
    bus.add("0000:0d:00.0", pci_id="9999:4000", pci_class="120000", driver="metax")
    for index in (0, 1):
        (bus.root / "sys/bus/pci/devices" / address(index) / "physfn").symlink_to("../0000:0d:00.0")
    mxsml.show(card(0, "mode 2") + card(1, "mode 0") + card(2, "mode 2"), FIRST_LINES)
    plugin = child(
        "rooted", mxsml.folder, module="rooted.plugin", env=rooted(tmp_path / "made", PACKAGE, "Metax", bus.root)
    )

    assert {FIRST: "0000:0d:00.0", SECOND: "", address(2): ""} == {
        key: device.partition_of for key, device in plugin.devices().items()
    }


def test_cards_are_handed_over(mxsml: FakeLibrary, tmp_path: Path, child: StartChild) -> None:
    """
    A process gets indexes; a container the class's node, the cards' own as sysfs names them, and counts from 0.
    """
    bus = FakeBus(tmp_path / "machine")
    for index in (0, 1):
        bus.add(address(index), pci_id="9999:4000", pci_class="120000", driver="metax", numa_node=3)
        for name in (f"card{index + 1}", f"renderD{128 + index}"):
            (bus.root / "sys/bus/pci/devices" / address(index) / "drm" / name).mkdir(parents=True)
    bus.touch("/dev/mxcd", "/opt/mxdriver/bin/mx-smi")
    mxsml.show(cards(2), FIRST_LINES)
    plugin = child(
        "rooted", mxsml.folder, module="rooted.plugin", env=rooted(tmp_path / "made", PACKAGE, "Metax", bus.root)
    )

    exposure = plugin.expose([SECOND])

    assert (
        Exposure(
            env={"CUDA_VISIBLE_DEVICES": "1"},
            container_env={"CUDA_VISIBLE_DEVICES": "0"},
            device_nodes=("/dev/mxcd", "/dev/dri/card2", "/dev/dri/renderD129"),
            mounts={"/opt/mxdriver": "/opt/mxdriver"},
            groups=exposure.groups,
            cdi_devices=("metax-tech.com/gpu=1",),
        )
        == exposure
    )
    assert {3} == {device.numa_node for device in plugin.devices().values()}


def test_the_command_answers_without_a_library(mx_smi: FakeCommand, child: StartChild) -> None:
    """
    mx-smi tells the same cards by the same names, and all of a round comes from one run.
    """
    plugin = child(PACKAGE, mx_smi.folder)

    devices = plugin.devices()
    (sample,) = plugin.sample([SECOND])

    assert (8, "MetaX C500", 0) == (len(devices), devices[FIRST].product, devices[FIRST].index)
    assert (826 * MIB, 58.0) == (sample.used_bytes, sample.power_watts)
    assert (Health.HEALTHY, ()) == plugin.health([FIRST])[FIRST]
    assert [""] == mx_smi.asked


def test_a_card_that_the_table_does_not_call_available(mx_smi: FakeCommand, child: StartChild) -> None:
    """
    Any other word for a card's state is told as the reason.
    """
    table = (RECORDINGS / "table_c500_2.2.9.txt").read_text().replace("Available  ", "Unavailable", 1)
    mx_smi.prints("", table)
    plugin = child(PACKAGE, mx_smi.folder)
    report = plugin.health([FIRST, SECOND])

    assert (Health.UNHEALTHY, True) == (report[FIRST][0], "mx-smi calls it Unavailable" in report[FIRST][1][0])
    assert (Health.HEALTHY, ()) == report[SECOND]


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("init 26\n", r"mxSmlInit: 26 \(the driver's library cannot be loaded\)"),
        ("count 4000000000\n", "mxSmlGetDeviceCount: told of 4000000000 cards"),
    ],
)
def test_a_driver_that_refuses_says_what_to_do(mxsml: FakeLibrary, child: StartChild, first: str, said: str) -> None:
    """
    Where neither the library nor the command answers, the error has both reasons.
    """
    mxsml.show(cards(1), first)

    with pytest.raises(PluginRaisedError, match=rf"{said}.*mx-smi is neither on PATH"):
        child(PACKAGE, mxsml.folder, env={"PATH": "/nowhere"}).fingerprint()


def test_cards_without_a_driver_are_listed_as_unhealthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What only the PCI bus shows has a name, no memory, and everybody's reason.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    bus = FakeBus(tmp_path)
    bus.add(FIRST, pci_id="9999:4000", pci_class="120000")
    plugin = Metax(tmp_path)

    assert [FIRST] == [each.device_id for each in plugin.fingerprint()]
    health, (reason,) = plugin.health([FIRST])[FIRST]
    assert Health.UNHEALTHY is health
    for said in ("no kernel driver is bound", "libmxsml.so", "mx-smi is neither on PATH", "install MetaX's driver"):
        assert said in reason
