"""CNDEV, cnmon, the bus, and handing over."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_cambricon.plugin import Cambricon
from motorpool_sdk import Device, Exposure, Health, Link, MemoryKind, Process, Sample
from motorpool_sdk.testing.machine import FakeBus, FakeCommand, FakeLibrary, PluginChild, PluginRaisedError
from tests.plugins.accelerators.cambricon.cards import address, card, cards
from tests.plugins.accelerators.conftest import StartChild
from tests.plugins.accelerators.harness.rooted import rooted

PACKAGE = "motorpool_cambricon"
FIRST, SECOND = address(0), address(1)
KIB, MIB = 2**10, 2**20
RECORDINGS = Path(__file__).parent / "recordings"


@pytest.fixture(name="plugin")
def make_plugin(cndev: FakeLibrary, child: StartChild) -> PluginChild:
    """The plugin, on two cards."""
    cndev.show(cards(2))
    return child(PACKAGE, cndev.folder)


@pytest.fixture(name="cnmon")
def make_cnmon(tmp_path: Path) -> FakeCommand:
    """A cnmon of a board of two chips."""
    command = FakeCommand(tmp_path / "bin", "cnmon")
    command.prints("", (RECORDINGS / "table_mlu370-x8_5.10.13.txt").read_text())
    return command


@pytest.mark.parametrize("version", [6, 5])
def test_a_card_is_told_whole(cndev: FakeLibrary, child: StartChild, version: int) -> None:
    """
    Everything that CNDEV tells of a card stands in its device, whichever version of its API it speaks.
    """
    cndev.show(card(), f"speaks {version}\n")

    assert [
        Device(
            device_id=FIRST,
            vendor="cambricon",
            framework="neuware",
            product="Cambricon MLU590-M9",
            index=0,
            pci_address=FIRST,
            driver_version="6.2.11",
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=81920 * MIB,
        )
    ] == child(PACKAGE, cndev.folder).fingerprint()


def test_links_that_are_up_are_counted(cndev: FakeLibrary, plugin: PluginChild) -> None:
    """
    MLULinks to another card are told with their number; one that is down, leads elsewhere, or is not told is none.
    """
    mine, peer = ("4b43a1d6-4e7c-11ee-9b2b-0a1b2c3d4e5f", "5c54b2e7-4e7c-11ee-9b2b-0a1b2c3d4e5f")
    links = (
        f"link {peer}",
        f"link down {peer}",
        f"link {peer}",
        "link 6d65c3f8-4e7c-11ee-9b2b-0a1b2c3d4e5f",
        f"link {mine}",
    )
    cndev.show(card(0, f"uuid {mine}", *links) + card(1, f"uuid {peer}", "fault cndevGetMLULinkStatusV2 10", *links))

    devices = plugin.devices()

    assert {FIRST: (Link(device_id=SECOND, kind="MLULink x2"),), SECOND: ()} == {
        key: device.links for key, device in devices.items()
    }


def test_a_card_is_measured(cndev: FakeLibrary, plugin: PluginChild) -> None:
    """
    Bytes, ratio, the chip's degrees, watts, and processes with their bytes.
    """
    cndev.show(card(0, "process 4711 1500", "process 0 3", used=2000))

    assert (
        Sample(
            device_id=FIRST,
            used_bytes=2000 * MIB,
            utilization_ratio=0.37,
            temperature_celsius=43.0,
            power_watts=101.0,
            processes=(Process(pid=4711, used_bytes=1500 * KIB),),
        ),
    ) == plugin.sample([FIRST])


@pytest.mark.promise("P5")
def test_unknown_figures_are_none(cndev: FakeLibrary, plugin: PluginChild) -> None:
    """
    Each figure that a card does not tell is None, never 0; the other card's are told.
    """
    plugin.fingerprint()
    cndev.show(card(0, "fault all 10") + card(1, "chip 0"))

    first, second = plugin.sample([FIRST, SECOND])

    assert Sample(device_id=FIRST) == first
    assert (666 * MIB, 35.0) == (second.used_bytes, second.temperature_celsius)


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        (("used 99999999",), "used_bytes"),
        (("used -1",), "used_bytes"),
        (("load 4000",), "utilization_ratio"),
        (("chip 65535",), "temperature_celsius"),
        (("power -1",), "power_watts"),
    ],
)
@pytest.mark.promise("P5")
def test_figures_that_cannot_be_are_unknown(
    cndev: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], field: str
) -> None:
    """
    More used than there is, or less than nothing, 4000 % or 65535 °C are no figures; the others stand.
    """
    (whole,) = plugin.sample([FIRST])

    cndev.show(card(0, *lines) + card(1))
    (less,) = plugin.sample([FIRST])

    assert None is getattr(less, field)
    assert {field} == {name for name in type(whole).__slots__ if getattr(whole, name) != getattr(less, name)}


@pytest.mark.parametrize(
    ("lines", "field", "unknown"),
    [
        (("fault cndevGetCardNameStringByDevId 7",), "product", ""),
        (("fault cndevGetMemoryUsageV2 7",), "memory_bytes", None),
        (("total -1",), "memory_bytes", None),
        (("fault cndevGetVersionInfo 7",), "driver_version", ""),
    ],
)
@pytest.mark.promise("P5")
def test_one_unknown_field_loses_one_field(
    cndev: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], field: str, unknown: object
) -> None:
    """
    A question that is not answered, or with nonsense, leaves that field unknown, and all others as they are.
    """
    whole = plugin.devices()[FIRST]

    cndev.show(card(0, *lines) + card(1))
    less = plugin.devices()[FIRST]

    assert unknown == getattr(less, field)
    assert {name for name in Device.__slots__ if getattr(whole, name) != getattr(less, name)} <= {field, "memory_kind"}


@pytest.mark.promise("P5")
def test_one_bad_card_loses_one_card(cndev: FakeLibrary, plugin: PluginChild) -> None:
    """
    A card that was known stays listed while it cannot be read, one that was not is an error, each beside the others.
    """
    plugin.fingerprint()
    cndev.show(card(0) + card(1, "fault cndevGetPCIeInfoV2 18") + card(2, "bus 0x1ff"))

    assert {FIRST: 81920 * MIB, SECOND: None} == {key: device.memory_bytes for key, device in plugin.devices().items()}
    assert Health.UNHEALTHY is plugin.health([SECOND])[SECOND][0]
    assert {
        "index 1": "cndevGetPCIeInfoV2: 18 (the device is in trouble)",
        "index 2": "cndevGetPCIeInfoV2: told of the address 0:1ff:0.0, which is none",
    } == plugin.errors()

    cndev.show(cards(2))
    assert {81920 * MIB} == {device.memory_bytes for device in plugin.devices().values()}


@pytest.mark.parametrize(
    ("line", "health", "said"),
    [
        ("health 1 0 0", Health.HEALTHY, ""),
        ("health 0 3 7", Health.UNHEALTHY, "unwell (device state 3, driver state 7)"),
        ("fault cndevGetCardHealthState 7", Health.UNKNOWN, "cndevGetCardHealthState: 7 (unknown error)"),
    ],
)
def test_the_drivers_word_is_health(
    cndev: FakeLibrary, plugin: PluginChild, line: str, health: Health, said: str
) -> None:
    """
    The driver's flag is health, with its states as the reason; what is not told is no good news.
    """
    cndev.show(card(0, line) + card(1))
    report = plugin.health([FIRST, SECOND])

    assert (health, True) == (report[FIRST][0], said in "".join(report[FIRST][1]))
    assert (Health.HEALTHY, ()) == report[SECOND]


def test_an_old_driver_tells_less(tmp_path: Path, old_compiled: Path, child: StartChild) -> None:
    """
    Without a newer driver's functions the rest is told.
    """
    cndev = FakeLibrary(tmp_path / "old", old_compiled)
    cndev.show(card(0, "process 4711 5"))
    plugin = child(PACKAGE, cndev.folder)

    assert (81920 * MIB, "") == (plugin.devices()[FIRST].memory_bytes, plugin.devices()[FIRST].driver_version)
    (sample,) = plugin.sample([FIRST])
    assert (666 * MIB, None, ()) == (sample.used_bytes, sample.power_watts, sample.processes)


@pytest.mark.parametrize(("nodes", "number"), [((2, 3), 3), ((0, 1), 1)])
def test_cards_are_handed_over(
    cndev: FakeLibrary, tmp_path: Path, child: StartChild, nodes: tuple[int, ...], number: int
) -> None:
    """
    A process gets indexes; a container the nodes that are there, by slot or else by index, and counts from 0.
    """
    bus = FakeBus(tmp_path / "machine")
    bus.touch("/dev/cambricon_ctl", "/usr/bin/cnmon", *(f"/dev/cambricon_dev{each}" for each in nodes))
    bus.touch(*(f"/dev/cambricon_ipcm{each}" for each in nodes))
    cndev.show(cards(2))
    plugin = child(
        "rooted", cndev.folder, module="rooted.plugin", env=rooted(tmp_path / "made", PACKAGE, "Cambricon", bus.root)
    )

    exposure = plugin.expose([SECOND])

    assert (
        Exposure(
            env={"MLU_VISIBLE_DEVICES": "1"},
            container_env={"CAMBRICON_VISIBLE_DEVICES": str(number), "MLU_VISIBLE_DEVICES": "0"},
            device_nodes=("/dev/cambricon_ctl", f"/dev/cambricon_dev{number}", f"/dev/cambricon_ipcm{number}"),
            mounts={"/usr/bin/cnmon": "/usr/bin/cnmon"},
            groups=exposure.groups,
            cdi_devices=(f"cambricon.com/mlu=mlu-{number}",),
        )
        == exposure
    )


def test_the_command_answers_without_a_library(cnmon: FakeCommand, child: StartChild) -> None:
    """
    Cnmon tells the cards by the same names, with unknown health, and all of a round comes from one run.
    """
    plugin = child(PACKAGE, cnmon.folder)

    devices = plugin.devices()
    (sample,) = plugin.sample(["0000:3d:00.0"])

    assert ["0000:39:00.0", "0000:3d:00.0"] == list(devices)
    assert (0, 39.0, 106.0) == (sample.used_bytes, sample.temperature_celsius, sample.power_watts)
    assert Health.UNKNOWN is plugin.health(["0000:39:00.0"])["0000:39:00.0"][0]
    assert [""] == cnmon.asked


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("init 1\n", r"CNDEV cannot be used: cndevInit: 1 \(no driver\)"),
        ("speaks 3\n", r"cndevGetDeviceCount: 3 \(none of \(6, 5\) is spoken\)"),
        ("count 1000000\n", "cndevGetDeviceCount: told of 1000000 cards"),
    ],
)
def test_a_driver_that_refuses_says_what_to_do(cndev: FakeLibrary, child: StartChild, first: str, said: str) -> None:
    """
    Where neither the library nor the command answers, the error has both reasons.
    """
    cndev.show(cards(1), first)

    with pytest.raises(PluginRaisedError, match=rf"{said}.*cnmon is neither on PATH"):
        child(PACKAGE, cndev.folder, env={"PATH": "/nowhere"}).fingerprint()


def test_cards_without_a_driver_are_listed_as_unhealthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What only the PCI bus shows has a name, no memory, and everybody's reason.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    bus = FakeBus(tmp_path)
    bus.add(FIRST, pci_id="cabc:0590", pci_class="120000")
    plugin = Cambricon(tmp_path)

    assert [FIRST] == [each.device_id for each in plugin.fingerprint()]
    health, (reason,) = plugin.health([FIRST])[FIRST]
    assert Health.UNHEALTHY is health
    for said in ("no kernel driver is bound", "libcndev.so", "neither on PATH", "install Cambricon's driver"):
        assert said in reason
