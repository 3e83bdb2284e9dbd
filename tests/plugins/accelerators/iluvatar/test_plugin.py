"""IXML, ixsmi, the bus, and handing over."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_iluvatar.plugin import Iluvatar
from motorpool_sdk import Device, Exposure, Health, MemoryKind, Process, Sample
from motorpool_sdk.testing.machine import FakeBus, FakeCommand, FakeLibrary, PluginChild, PluginRaisedError
from tests.plugins.accelerators.conftest import StartChild
from tests.plugins.accelerators.iluvatar.cards import FIRST_LINES, address, card, cards, uuid

PACKAGE = "motorpool_iluvatar"
FIRST, SECOND = address(0), address(1)
MIB = 2**20
PRINTED = (Path(__file__).parent / "recordings" / "ixsmi_mr-v100_4.2.0.xml").read_text()


@pytest.fixture(name="plugin")
def make_plugin(ixml: FakeLibrary, child: StartChild) -> PluginChild:
    """The plugin, on two cards."""
    ixml.show(cards(2), FIRST_LINES)
    return child(PACKAGE, ixml.folder)


@pytest.fixture(name="ixsmi")
def make_ixsmi(tmp_path: Path) -> FakeCommand:
    """An ixsmi of two MR-V100."""
    command = FakeCommand(tmp_path / "bin", "ixsmi")
    command.prints("-q -x", PRINTED)
    return command


def test_a_card_is_told_whole(ixml: FakeLibrary, plugin: PluginChild) -> None:
    """
    Everything that IXML tells of a card stands in its device.
    """
    ixml.show(card(), FIRST_LINES)

    assert [
        Device(
            device_id=FIRST,
            vendor="iluvatar",
            framework="corex",
            product="Iluvatar BI-V150",
            index=0,
            pci_address=FIRST,
            architecture="BI-V150",
            driver_version="4.3.8",
            runtime_version="10.2",
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=32768 * MIB,
        )
    ] == plugin.fingerprint()


def test_a_card_is_measured(plugin: PluginChild) -> None:
    """
    Bytes, ratio, degrees, and watts from milliwatts.
    """
    assert (
        Sample(
            device_id=FIRST,
            used_bytes=64 * MIB,
            utilization_ratio=0.37,
            temperature_celsius=40.0,
            power_watts=104.0,
        ),
    ) == plugin.sample([FIRST])


@pytest.mark.promise("P5")
def test_unknown_figures_are_none(ixml: FakeLibrary, plugin: PluginChild) -> None:
    """
    Each figure that a card does not tell is None, never 0; the other card's are told.
    """
    plugin.fingerprint()
    ixml.show(card(0, "fault all 3") + card(1))

    first, second = plugin.sample([FIRST, SECOND])

    assert Sample(device_id=FIRST) == first
    assert 64 * MIB == second.used_bytes


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        (("used 99999999",), "used_bytes"),
        (("util 4000",), "utilization_ratio"),
        (("temperature 65535",), "temperature_celsius"),
        (("power 4294967295",), "power_watts"),
        (("fault power 3",), "power_watts"),
    ],
)
@pytest.mark.promise("P5")
def test_figures_that_cannot_be_are_unknown(
    ixml: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], field: str
) -> None:
    """
    More used than there is, 4000 % or 65535 °C are no figures, and one chip of a board of two has no power.
    """
    (whole,) = plugin.sample([FIRST])

    ixml.show(card(0, *lines) + card(1), FIRST_LINES)
    (less,) = plugin.sample([FIRST])

    assert None is getattr(less, field)
    assert {field} == {name for name in type(whole).__slots__ if getattr(whole, name) != getattr(less, name)}


@pytest.mark.parametrize(
    ("lines", "fields", "unknown"),
    [
        (("fault name 999",), {"product", "architecture"}, ""),
        (("fault memory 999",), {"memory_bytes", "memory_kind"}, None),
        (("total 0",), {"memory_bytes", "memory_kind"}, None),
    ],
)
@pytest.mark.promise("P5")
def test_one_unknown_field_loses_one_field(
    ixml: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], fields: set[str], unknown: object
) -> None:
    """
    A question that is not answered, or with nonsense, leaves what it tells unknown, and all else as it is.
    """
    whole = plugin.devices()[FIRST]

    ixml.show(card(0, *lines) + card(1), FIRST_LINES)
    less = plugin.devices()[FIRST]

    assert {unknown} == {getattr(less, field) for field in fields}
    assert fields == {name for name in Device.__slots__ if getattr(whole, name) != getattr(less, name)}


@pytest.mark.promise("P5")
def test_one_bad_card_loses_one_card(ixml: FakeLibrary, plugin: PluginChild) -> None:
    """
    A card that was known stays listed while it cannot be read, one that was not is an error, each beside the others.
    """
    plugin.fingerprint()
    ixml.show(card(0) + card(1, "fault handle 15") + card(2, "bus nowhere"))

    assert {FIRST: 32768 * MIB, SECOND: None} == {key: device.memory_bytes for key, device in plugin.devices().items()}
    assert Health.UNHEALTHY is plugin.health([SECOND])[SECOND][0]
    assert {
        "index 1": "nvmlDeviceGetHandleByIndex_v2: 15 (the card is lost)",
        "index 2": "nvmlDeviceGetPciInfo_v3: told of the address 'nowhere', which is none",
    } == plugin.errors()

    ixml.show(cards(2))
    assert {32768 * MIB} == {device.memory_bytes for device in plugin.devices().values()}


@pytest.mark.parametrize(
    ("line", "health", "said"),
    [
        ("health 0", Health.HEALTHY, ""),
        ("health 0x50", Health.UNHEALTHY, "the driver reports faults in: ECC, PCIe; see `ixsmi -q`"),
        ("health 0x800", Health.UNHEALTHY, "something unknown (0x800)"),
        ("fault health 3", Health.UNKNOWN, "ixmlDeviceGetHealth: 3 (not supported)"),
    ],
)
def test_the_drivers_bits_are_health(
    ixml: FakeLibrary, plugin: PluginChild, line: str, health: Health, said: str
) -> None:
    """
    Each bit is a part that is faulty; what is not told is no good news.
    """
    ixml.show(card(0, line) + card(1))
    report = plugin.health([FIRST, SECOND])

    assert (health, True) == (report[FIRST][0], said in "".join(report[FIRST][1]))
    assert (Health.HEALTHY, ()) == report[SECOND]


def test_an_old_corex_tells_less(tmp_path: Path, old_compiled: Path, child: StartChild) -> None:
    """
    Without memory version 2 the older question is asked; without a word on health that is unknown.
    """
    ixml = FakeLibrary(tmp_path / "old", old_compiled)
    ixml.show(card(), FIRST_LINES)
    plugin = child(PACKAGE, ixml.folder)

    assert 32768 * MIB == plugin.devices()[FIRST].memory_bytes
    assert 64 * MIB == plugin.sample([FIRST])[0].used_bytes
    assert Health.UNKNOWN is plugin.health([FIRST])[FIRST][0]


def test_cards_are_handed_over_by_uuid(plugin: PluginChild) -> None:
    """
    A process and the toolkit get UUIDs, a container without it the nodes by minor number.
    """
    exposure = plugin.expose([SECOND, FIRST])
    listed = f"{uuid(1)},{uuid(0)}"

    assert (
        Exposure(
            env={"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": listed},
            container_env={"IX_VISIBLE_DEVICES": listed},
            container_runtime="iluvatar",
            device_nodes=("/dev/iluvatar5", "/dev/iluvatar4"),
            groups=exposure.groups,
            cdi_devices=(f"iluvatar.com/gpu={uuid(1)}", f"iluvatar.com/gpu={uuid(0)}"),
        )
        == exposure
    )


def test_a_card_without_a_minor_number_is_not_handed_over_as_a_node(ixml: FakeLibrary, plugin: PluginChild) -> None:
    """
    Half of the nodes would be half of the cards: then only the vendor's own ways are offered.
    """
    ixml.show(card(0, "fault minor 3") + card(1))

    assert () == plugin.expose([FIRST, SECOND]).device_nodes


def test_the_command_answers_without_a_library(ixsmi: FakeCommand, child: StartChild) -> None:
    """
    Ixsmi tells the cards by the same names, with processes, and all of a round comes from one run.
    """
    plugin = child(PACKAGE, ixsmi.folder)

    devices = plugin.devices()
    (sample,) = plugin.sample(["0000:0c:00.0"])

    assert ["0000:0c:00.0", "0000:0f:00.0"] == list(devices)
    assert (27780 * MIB, 37.0, (Process(pid=21039, used_bytes=27664 * MIB),)) == (
        sample.used_bytes,
        sample.power_watts,
        sample.processes,
    )
    assert (Health.HEALTHY, ()) == plugin.health(["0000:0c:00.0"])["0000:0c:00.0"]
    assert ["-q -x"] == ixsmi.asked


@pytest.mark.parametrize(("double_bit", "health"), [("2", Health.UNHEALTHY), ("N/A", Health.UNKNOWN)])
def test_errors_that_ixsmi_counts_are_health(
    ixsmi: FakeCommand, child: StartChild, double_bit: str, health: Health
) -> None:
    """
    Double-bit errors make a card unhealthy; where they are not counted, nothing is known.
    """
    ixsmi.prints("-q -x", PRINTED.replace("<double_bit>0<", f"<double_bit>{double_bit}<", 1))
    plugin = child(PACKAGE, ixsmi.folder)
    report = plugin.health(["0000:0c:00.0", "0000:0f:00.0"])

    assert [health, Health.HEALTHY] == [each for each, _ in report.values()]


def test_a_driver_that_refuses_says_what_to_do(ixml: FakeLibrary, child: StartChild) -> None:
    """
    Where neither the library nor the command answers, the error has both reasons.
    """
    ixml.show(cards(1), "init 18\n")

    with pytest.raises(
        PluginRaisedError, match=r"nvmlInit_v2: 18 \(the library and the kernel.*ixsmi is neither on PATH"
    ):
        child(PACKAGE, ixml.folder, env={"PATH": "/nowhere"}).fingerprint()


def test_text_that_is_no_xml_is_quoted(ixsmi: FakeCommand, child: StartChild) -> None:
    """
    What ixsmi says when it cannot work is in the error.
    """
    ixsmi.prints("-q -x", "Unable to initialise IXML")

    with pytest.raises(PluginRaisedError, match="`ixsmi -q -x` printed no cards, but 'Unable to initialise IXML'"):
        child(PACKAGE, ixsmi.folder).fingerprint()


def test_cards_without_a_driver_are_listed_as_unhealthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What only the PCI bus shows has a name, no memory, and everybody's reason.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    bus = FakeBus(tmp_path)
    bus.add(FIRST, pci_id="1e3e:0002", pci_class="120000")
    plugin = Iluvatar(tmp_path)

    assert [FIRST] == [each.device_id for each in plugin.fingerprint()]
    health, (reason,) = plugin.health([FIRST])[FIRST]
    assert Health.UNHEALTHY is health
    for said in ("no kernel driver is bound", "libixml.so", "neither on PATH", "install Iluvatar's driver"):
        assert said in reason
