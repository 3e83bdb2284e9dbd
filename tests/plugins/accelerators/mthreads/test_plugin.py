"""MTML, mthreads-gmi, the bus, and handing over."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_mthreads.plugin import Mthreads
from motorpool_sdk import Device, Exposure, Health, Link, MemoryKind, Sample
from motorpool_sdk.testing.machine import FakeBus, FakeCommand, FakeLibrary, PluginChild, PluginRaisedError
from tests.plugins.accelerators.conftest import StartChild
from tests.plugins.accelerators.mthreads.cards import FIRST_LINES, address, card, cards

PACKAGE = "motorpool_mthreads"
FIRST, SECOND = address(0), address(1)
TOTAL = 85899345920
RECORDINGS = Path(__file__).parent / "recordings"


@pytest.fixture(name="plugin")
def make_plugin(mtml: FakeLibrary, child: StartChild) -> PluginChild:
    """The plugin, on two cards."""
    mtml.show(cards(2), FIRST_LINES)
    return child(PACKAGE, mtml.folder)


@pytest.fixture(name="gmi")
def make_gmi(tmp_path: Path) -> FakeCommand:
    """An mthreads-gmi of eight S5000."""
    command = FakeCommand(tmp_path / "bin", "mthreads-gmi")
    command.prints("", (RECORDINGS / "table_s5000_2.4.1.txt").read_text())
    return command


def test_a_card_is_told_whole(mtml: FakeLibrary, plugin: PluginChild) -> None:
    """
    Everything that MTML tells of a card stands in its device.
    """
    mtml.show(card(), FIRST_LINES)

    assert [
        Device(
            device_id=FIRST,
            vendor="mthreads",
            framework="musa",
            product="MTT S5000",
            index=0,
            pci_address=FIRST,
            compute_capability="3.1",
            driver_version="3.3.5-server",
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=TOTAL,
        )
    ] == plugin.fingerprint()


def test_a_card_is_measured(plugin: PluginChild) -> None:
    """
    Bytes, ratio, degrees, and watts from milliwatts.
    """
    assert (
        Sample(
            device_id=FIRST,
            used_bytes=3584032768,
            utilization_ratio=0.37,
            temperature_celsius=48.0,
            power_watts=116.384,
        ),
    ) == plugin.sample([FIRST])


@pytest.mark.promise("P5")
def test_what_is_opened_is_given_back(mtml: FakeLibrary, plugin: PluginChild) -> None:
    """
    A library that has room for a few handles serves a hundred rounds, also of cards that fail half-way.
    """
    mtml.show(cards(2) + card(2, "fault mtmlDeviceGetPciInfo 2") + card(3, "fault mtmlMemoryGetUsed 2"), FIRST_LINES)

    for _ in range(100):
        assert {FIRST, SECOND, address(3)} == set(plugin.devices())
        assert 3 == len(plugin.sample([FIRST, SECOND, address(3)]))
        assert Health.HEALTHY is plugin.health([FIRST])[FIRST][0]


@pytest.mark.promise("P5")
def test_unknown_figures_are_none(mtml: FakeLibrary, plugin: PluginChild) -> None:
    """
    Each figure that a card does not tell is None, never 0; the other card's are told.
    """
    plugin.fingerprint()
    faults = ("mtmlDeviceInitMemory", "mtmlDeviceInitGpu", "mtmlDeviceGetPowerUsage")
    mtml.show(card(0, *(f"fault {name} 4" for name in faults)) + card(1))

    first, second = plugin.sample([FIRST, SECOND])

    assert Sample(device_id=FIRST) == first
    assert 3584032768 == second.used_bytes


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        (("used 99999999999999",), "used_bytes"),
        (("load 4000",), "utilization_ratio"),
        (("temperature -300",), "temperature_celsius"),
        (("power 4294967295",), "power_watts"),
    ],
)
@pytest.mark.promise("P5")
def test_figures_that_cannot_be_are_unknown(
    mtml: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], field: str
) -> None:
    """
    More used than there is, 4000 % or -300 °C are no figures; the others stand.
    """
    (whole,) = plugin.sample([FIRST])

    mtml.show(card(0, *lines) + card(1))
    (less,) = plugin.sample([FIRST])

    assert None is getattr(less, field)
    assert {field} == {name for name in type(whole).__slots__ if getattr(whole, name) != getattr(less, name)}


@pytest.mark.parametrize(
    ("lines", "fields", "unknown"),
    [
        (("fault mtmlDeviceGetName 999",), {"product", "compute_capability"}, ""),
        (("fault mtmlMemoryGetTotal 999",), {"memory_bytes", "memory_kind"}, None),
        (("total 18446744073709551615",), {"memory_bytes", "memory_kind"}, None),
    ],
)
@pytest.mark.promise("P5")
def test_one_unknown_field_loses_one_field(
    mtml: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], fields: set[str], unknown: object
) -> None:
    """
    A question that is not answered, or with nonsense, leaves what it tells unknown, and all else as it is.
    """
    whole = plugin.devices()[FIRST]

    mtml.show(card(0, *lines) + card(1), FIRST_LINES)
    less = plugin.devices()[FIRST]

    assert {unknown} == {getattr(less, field) for field in fields}
    assert fields == {name for name in Device.__slots__ if getattr(whole, name) != getattr(less, name)}


@pytest.mark.promise("P5")
def test_one_bad_card_loses_one_card(mtml: FakeLibrary, plugin: PluginChild) -> None:
    """
    A card that was known stays listed while it cannot be read, one that was not is an error, each beside the others.
    """
    plugin.fingerprint()
    mtml.show(card(0) + card(1, "fault mtmlLibraryInitDeviceByIndex 2") + "card nowhere\n")

    assert {FIRST: TOTAL, SECOND: None} == {key: device.memory_bytes for key, device in plugin.devices().items()}
    assert Health.UNHEALTHY is plugin.health([SECOND])[SECOND][0]
    assert {
        "index 1": "mtmlLibraryInitDeviceByIndex: 2 (the driver failed)",
        "index 2": "mtmlDeviceGetPciInfo: told of the address 'nowhere', which is none",
    } == plugin.errors()

    mtml.show(cards(2))
    assert {TOTAL} == {device.memory_bytes for device in plugin.devices().values()}


def test_a_card_whose_memory_does_not_answer_has_no_health(mtml: FakeLibrary, plugin: PluginChild) -> None:
    """
    The reason names the function and its code; the other card is well.
    """
    mtml.show(card(0, "fault mtmlMemoryGetUsed 2") + card(1))

    assert {
        FIRST: (Health.UNKNOWN, ("mtmlMemoryGetUsed: 2 (the driver failed)",)),
        SECOND: (Health.HEALTHY, ()),
    } == plugin.health([FIRST, SECOND])


def test_links_that_are_up_are_counted(mtml: FakeLibrary, plugin: PluginChild) -> None:
    """
    Links to another card are told with their number; one that is down is none.
    """
    peer = f"0000{SECOND}"
    mtml.show(card(0, f"link {peer}", "link down", f"link {peer}") + card(1))

    assert (Link(device_id=SECOND, kind="MtLink x2"),) == plugin.devices()[FIRST].links


def test_instances_of_a_divided_card_are_devices(mtml: FakeLibrary, plugin: PluginChild) -> None:
    """
    MPC instances are devices by their UUID that name their card, also where they share its address; one that is removed
    is no device any more, and one whose card or UUID is not told is an error.
    """
    instances = (f"uuid mpc-a\nmpc 0000{FIRST}", f"uuid mpc-b\nmpc 0000{FIRST}")
    whole, divided = card(1), card(0, "mpc parent")
    parts = [card(0, lines, f"total {TOTAL // 2}", used=used) for lines, used in zip(instances, (5, 6), strict=True)]
    mtml.show(divided + whole + "".join(parts), FIRST_LINES)

    devices = plugin.devices()

    assert {FIRST: "", SECOND: "", "mpc-a": FIRST, "mpc-b": FIRST} == {
        key: device.partition_of for key, device in devices.items()
    }
    assert (TOTAL // 2, 3, FIRST) == (
        devices["mpc-b"].memory_bytes,
        devices["mpc-b"].index,
        devices["mpc-b"].pci_address,
    )
    assert [5, 6] == [sample.used_bytes for sample in plugin.sample(["mpc-a", "mpc-b"])]
    assert {"MUSA_VISIBLE_DEVICES": "3"} == plugin.expose(["mpc-b"]).env

    mtml.show(divided + whole + parts[0], FIRST_LINES)
    assert {FIRST, SECOND, "mpc-a"} == set(plugin.devices())

    nameless = card(0, f"mpc 0000{FIRST}")
    orphan = card(0, "uuid mpc-c", "mpc nowhere")
    mtml.show(divided + whole + nameless + orphan, FIRST_LINES)
    assert {
        "index 2": "mtmlDeviceGetUUID: 4 (not supported)",
        "index 3": "mtmlDeviceGetMpcParentDevice: 7 (not found)",
    } == plugin.errors()


@pytest.mark.promise("P5")
def test_instances_are_given_back(mtml: FakeLibrary, plugin: PluginChild) -> None:
    """
    A library with room for a few handles serves a hundred rounds of a divided card.
    """
    mtml.show(card(0, "mpc parent") + card(0, f"uuid mpc-a\nmpc 0000{FIRST}"), FIRST_LINES)

    for _ in range(100):
        assert {FIRST, "mpc-a"} <= set(plugin.devices())
        assert 1 == len(plugin.sample(["mpc-a"]))


def test_an_old_driver_tells_less(tmp_path: Path, old_compiled: Path, child: StartChild) -> None:
    """
    Without a newer driver's functions the rest is told; its library has no number.
    """
    mtml = FakeLibrary(tmp_path / "old", old_compiled)
    mtml.show(card(), FIRST_LINES)
    plugin = child(PACKAGE, mtml.folder)

    assert (TOTAL, "") == (plugin.devices()[FIRST].memory_bytes, plugin.devices()[FIRST].driver_version)
    assert (3584032768, None) == (plugin.sample([FIRST])[0].used_bytes, plugin.sample([FIRST])[0].power_watts)


def test_cards_are_handed_over(plugin: PluginChild) -> None:
    """
    A process gets indexes; a container the nodes that the library itself names, and counts from 0.
    """
    exposure = plugin.expose([SECOND])

    assert (
        Exposure(
            env={"MUSA_VISIBLE_DEVICES": "1"},
            container_env={"MTHREADS_VISIBLE_DEVICES": "1", "MUSA_VISIBLE_DEVICES": "0"},
            container_runtime="mthreads",
            device_nodes=("/dev/mtgpu.1", "/dev/dri/card2", "/dev/dri/renderD129"),
            groups=exposure.groups,
            cdi_devices=("mthreads.com/gpu=1",),
        )
        == exposure
    )


def test_the_command_answers_without_a_library(gmi: FakeCommand, child: StartChild) -> None:
    """
    mthreads-gmi tells the same cards by the same names, and all of a round comes from one run.
    """
    plugin = child(PACKAGE, gmi.folder)

    devices = plugin.devices()
    (sample,) = plugin.sample([FIRST])

    assert (8, "MTT S5000", "3.1") == (len(devices), devices[FIRST].product, devices[FIRST].compute_capability)
    assert (0, 48.0, None) == (sample.used_bytes, sample.temperature_celsius, sample.power_watts)
    assert (Health.HEALTHY, ()) == plugin.health([FIRST])[FIRST]
    assert [""] == gmi.asked


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("init 1\n", r"MTML cannot be used: mtmlLibraryInit: 1 \(the driver is not loaded\)"),
        ("count 1000000\n", "mtmlLibraryCountDevice: told of 1000000 cards"),
    ],
)
def test_a_driver_that_refuses_says_what_to_do(mtml: FakeLibrary, child: StartChild, first: str, said: str) -> None:
    """
    Where neither the library nor the command answers, the error has both reasons.
    """
    mtml.show(cards(1), first)

    with pytest.raises(PluginRaisedError, match=rf"{said}.*mthreads-gmi is neither on PATH"):
        child(PACKAGE, mtml.folder, env={"PATH": "/nowhere"}).fingerprint()


def test_cards_without_a_driver_are_listed_as_unhealthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What only the PCI bus shows has a name, no memory, and everybody's reason.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    bus = FakeBus(tmp_path)
    bus.add(FIRST, pci_id="1ed5:0400", pci_class="038000", driver="vfio-pci")
    plugin = Mthreads(tmp_path)

    assert [FIRST] == [each.device_id for each in plugin.fingerprint()]
    health, (reason,) = plugin.health([FIRST])[FIRST]
    assert Health.UNHEALTHY is health
    for said in ("kernel driver is vfio-pci", "libmtml.so.2", "neither on PATH", "install Moore Threads' driver"):
        assert said in reason
