"""What ROCm SMI tells: cards, partitions, links, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_sdk import Device, Health, Link, MemoryKind, Process, Sample
from motorpool_sdk.testing.machine import FakeLibrary, PluginChild, PluginRaisedError
from tests.plugins.accelerators.amd.cards import address, card, cards
from tests.plugins.accelerators.conftest import StartChild

PACKAGE = "motorpool_amd"
FIRST, SECOND = address(0), address(1)
TOTAL = 68702699520


@pytest.fixture(name="plugin")
def make_plugin(rsmi: FakeLibrary, child: StartChild) -> PluginChild:
    """The plugin, on a library that has no cards yet."""
    rsmi.show("")
    return child(PACKAGE, rsmi.folder)


def test_a_card_is_told_whole(rsmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    Everything that ROCm SMI tells of a card stands in its device.
    """
    rsmi.show(card())
    (device,) = plugin.fingerprint()

    assert isinstance(device, Device)
    assert (
        Device(
            device_id=FIRST,
            vendor="amd",
            framework="rocm",
            product="Aldebaran/MI200 [Instinct MI250X/MI250]",
            index=0,
            pci_address=FIRST,
            driver_version=device.driver_version,  # this machine's kernel: the module has no version of its own
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=TOTAL,
        )
        == device
    )
    assert str(rsmi.folder / "librocm_smi64.so.7") == plugin.sources()[0].path


@pytest.mark.parametrize("count", [1, 8, 16])
def test_as_many_devices_as_cards(rsmi: FakeLibrary, plugin: PluginChild, count: int) -> None:
    """
    A machine has as many devices as cards.
    """
    rsmi.show(cards(count))

    assert {address(index): index for index in range(count)} == {
        key: device.index for key, device in plugin.devices().items()
    }


def test_a_card_is_measured(rsmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    Bytes, ratio, degrees, watts, and the processes on this card with theirs.
    """
    rsmi.show(card(0, "vram 4711 1500", used=2000) + card(1, "vram 4712 7"), "process 4711\nprocess 4712\nprocess 0\n")

    assert (
        Sample(
            device_id=FIRST,
            used_bytes=2000,
            utilization_ratio=0.37,
            temperature_celsius=43.0,
            power_watts=101.0,
            processes=(Process(pid=4711, used_bytes=1500),),
        ),
    ) == plugin.sample([FIRST])


def test_figures_that_moved_are_found(rsmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    MI300 tells no edge's temperature and no average power: its hottest spot and its socket's stand in.
    """
    without = "".join(line + "\n" for line in card().splitlines() if not line.startswith(("edge", "power")))
    rsmi.show(f"{without}socket 155000000\nmarket AMD Instinct MI300X\n")

    (sample,) = plugin.sample([FIRST])

    assert (47.0, 155.0) == (sample.temperature_celsius, sample.power_watts)
    assert "AMD Instinct MI300X" == plugin.devices()[FIRST].product


@pytest.mark.parametrize(
    ("lines", "field", "unknown"),
    [
        (("fault rsmi_dev_name_get 15",), "product", ""),
        (("name 0x74a1",), "product", ""),
        (("fault rsmi_dev_memory_total_get 15",), "memory_bytes", None),
        (("total 0",), "memory_bytes", None),
        (("total 18446744073709551615",), "memory_bytes", None),
    ],
)
@pytest.mark.promise("P5")
def test_one_unknown_field_loses_one_field(
    rsmi: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], field: str, unknown: object
) -> None:
    """
    A question that is not answered, or with nonsense, leaves that field unknown, and all others as they are.
    """
    rsmi.show(card())
    whole = plugin.devices()[FIRST]

    rsmi.show(card(0, *lines))
    less = plugin.devices()[FIRST]

    assert unknown == getattr(less, field)
    assert {name for name in Device.__slots__ if getattr(whole, name) != getattr(less, name)} <= {field, "memory_kind"}


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        (("used 99999999999999",), "used_bytes"),
        (("busy 4000",), "utilization_ratio"),
        (("edge 99999999",), "temperature_celsius"),
        (("power 18446744073709551615",), "power_watts"),
    ],
)
@pytest.mark.promise("P5")
def test_figures_that_cannot_be_are_unknown(
    rsmi: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], field: str
) -> None:
    """
    More used than there is, 4000 % or 99999 °C are no figures; the others stand.
    """
    rsmi.show(card())
    (whole,) = plugin.sample([FIRST])

    rsmi.show(card(0, *lines))
    (less,) = plugin.sample([FIRST])

    assert None is getattr(less, field)
    assert {field} == {name for name in type(whole).__slots__ if getattr(whole, name) != getattr(less, name)}


@pytest.mark.promise("P5")
def test_unknown_figures_are_none(rsmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    Each figure that a card does not tell is None, never 0.
    """
    rsmi.show(card())
    plugin.fingerprint()
    rsmi.show(card(0, "fault all 2"))

    assert (Sample(device_id=FIRST),) == plugin.sample([FIRST])


@pytest.mark.promise("P5")
def test_one_bad_card_loses_one_card(rsmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    A card without an address is an error with function and code, beside the others.
    """
    rsmi.show(card() + card(1, "fault rsmi_dev_pci_id_get 15"))

    assert [FIRST] == list(plugin.devices())
    told = "rsmi_dev_pci_id_get: 15 (the driver told something that the library does not know)"
    assert {"index 1": told} == plugin.errors()


@pytest.mark.promise("P5")
def test_a_card_that_vanishes_stays_listed_until_it_returns(rsmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    A lost card keeps its name and has no memory; it is unhealthy, and as before when it is back.
    """
    rsmi.show(cards(2))
    before = plugin.devices()

    rsmi.show(cards(1))
    lost = plugin.devices()[SECOND]

    assert (before[SECOND].product, None) == (lost.product, lost.memory_bytes)
    assert Health.UNHEALTHY is plugin.health([SECOND])[SECOND][0]

    rsmi.show(cards(2))
    assert before == plugin.devices()


def test_partitions_share_an_address(rsmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    A card in partitions is one device for each, told apart by their numbers.
    """
    rsmi.show(card() + card(1, "bus 0x29", "partition 1") + card(2, "bus 0x29", "partition 2"))

    assert [FIRST, f"{FIRST}-partition1", f"{FIRST}-partition2"] == list(plugin.devices())


def test_links_are_xgmi(rsmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    Cards on XGMI are linked; the way over PCIe is no link.
    """
    rsmi.show(card(0, "xgmi 1") + card(1, "xgmi 0") + card(2))
    devices = plugin.devices()

    assert (Link(device_id=SECOND, kind="XGMI"),) == devices[FIRST].links
    assert () == devices[address(2)].links


@pytest.mark.parametrize(
    ("lines", "health", "said"),
    [
        ((), Health.HEALTHY, ""),
        (("ecc 1 0", "ecc 4 0"), Health.HEALTHY, ""),
        (("ecc 1 3",), Health.UNHEALTHY, "3 uncorrectable errors in memory"),
        (("ecc 4 1",), Health.UNHEALTHY, "1 uncorrectable errors in graphics"),
        (("fault rsmi_dev_ecc_count_get 2",), Health.HEALTHY, ""),
        (("fault rsmi_dev_ecc_count_get 4",), Health.UNKNOWN, "rsmi_dev_ecc_count_get: 4 (not permitted)"),
    ],
)
def test_counters_of_errors_are_health(
    rsmi: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], health: Health, said: str
) -> None:
    """
    Uncorrectable errors make a card unhealthy; one without counters is not judged by them, a refusal is no good news.
    """
    rsmi.show(card(0, *lines) + card(1))
    report = plugin.health([FIRST, SECOND])

    assert (health, True) == (report[FIRST][0], said in "".join(report[FIRST][1]))
    assert (Health.HEALTHY, ()) == report[SECOND]


def test_an_old_rocm_tells_less(tmp_path: Path, old_compiled: Path, child: StartChild) -> None:
    """
    Without a newer release's functions the rest is told; its library has an older number.
    """
    rsmi = FakeLibrary(tmp_path / "old", old_compiled)
    rsmi.show(card(0, "vram 4711 1500"), "process 4711\n")
    plugin = child(PACKAGE, rsmi.folder)

    (sample,) = plugin.sample([FIRST])

    assert (TOTAL, ()) == (plugin.devices()[FIRST].memory_bytes, plugin.devices()[FIRST].links)
    assert (10850304, 101.0, ()) == (sample.used_bytes, sample.power_watts, sample.processes)


def test_a_count_that_cannot_be_is_no_list(rsmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    A library that tells of a million cards is not believed, and said to be wrong.
    """
    rsmi.show(cards(1), "count 1000000\n")

    with pytest.raises(PluginRaisedError, match="rsmi_num_monitor_devices: told of 1000000 cards"):
        plugin.fingerprint()
