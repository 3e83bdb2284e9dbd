"""What DCMI tells: cards, chips, links, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_sdk import Device, Health, Link, MemoryKind
from motorpool_sdk.testing.machine import FakeLibrary, PluginChild, PluginRaisedError
from tests.plugins.accelerators.ascend.board import DRIVER, address, card, cards
from tests.plugins.accelerators.conftest import StartChild

PACKAGE = "motorpool_ascend"
MIB = 2**20
FIRST, SECOND = address(0), address(1)


@pytest.fixture(name="plugin")
def make_plugin(dcmi: FakeLibrary, child: StartChild) -> PluginChild:
    """The plugin, on a library that has no cards yet."""
    dcmi.show("", DRIVER)
    return child(PACKAGE, dcmi.folder)


def test_a_chip_is_told_whole(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    Everything that DCMI tells of a chip stands in its device; the board's controller is none.
    """
    dcmi.show(card(0, "ip 10.52.32.11"), DRIVER)

    assert [
        Device(
            device_id=FIRST,
            vendor="ascend",
            framework="cann",
            product="Ascend 910B3",
            index=0,
            pci_address=FIRST,
            architecture="910b",
            driver_version="25.5.1",
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=65536 * MIB,
            network_address="10.52.32.11",
        )
    ] == plugin.fingerprint()
    assert ["libdcmi.so", str(dcmi.folder / "libdcmi.so")] == [plugin.sources()[0].name, plugin.sources()[0].path]


@pytest.mark.parametrize("count", [0, 1, 8, 16])
def test_as_many_devices_as_chips(dcmi: FakeLibrary, plugin: PluginChild, count: int) -> None:
    """
    A machine has as many devices as chips, also none.
    """
    dcmi.show(cards(count), DRIVER)

    assert {address(number): number for number in range(count)} == {
        key: device.index for key, device in plugin.devices().items()
    }


@pytest.mark.parametrize(
    ("fault", "field", "unknown"),
    [
        ("dcmi_get_device_chip_info_v2 -8006", "architecture", "910b"),
        ("dcmi_get_device_hbm_info -8006", "memory_bytes", None),
        ("dcmi_get_device_ip -8006", "network_address", ""),
    ],
)
@pytest.mark.promise("P5")
def test_one_unknown_field_loses_one_field(
    dcmi: FakeLibrary, plugin: PluginChild, fault: str, field: str, unknown: object
) -> None:
    """
    A question that DCMI does not answer leaves that field unknown, and all others; where an older question tells the
    same, it is asked.
    """
    dcmi.show(card(0, "ip 10.0.0.1"), DRIVER)
    whole = plugin.devices()[FIRST]

    dcmi.show(card(0, "ip 10.0.0.1", f"fault {fault}"), DRIVER)
    less = plugin.devices()[FIRST]

    assert unknown == getattr(less, field)
    assert {name for name in Device.__slots__ if getattr(whole, name) != getattr(less, name)} <= {field, "memory_kind"}


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("fault dcmi_get_device_logic_id -8008", "dcmi_get_device_logic_id: -8008 (the device does not exist)"),
        ("fault phy -8007", "dcmi_get_device_phyid_from_logicid: -8007 (invalid device id)"),
        ("fault dcmi_get_device_pcie_info_v2 -8010", "dcmi_get_device_pcie_info_v2: -8010 (message not sent)"),
        ("bus 0x1ff", "dcmi_get_device_pcie_info_v2: told of the address 0:1ff:0.0, which is none"),
    ],
)
@pytest.mark.promise("P5")
def test_one_bad_card_loses_one_card(dcmi: FakeLibrary, plugin: PluginChild, line: str, error: str) -> None:
    """
    A chip that cannot be named is an error with the function and its code, beside the others.
    """
    dcmi.show(card(0) + card(1, line), DRIVER)

    assert [FIRST] == list(plugin.devices())
    assert {"NPU 1 chip 0": error} == plugin.errors()


def test_a_card_that_does_not_count_its_chips_is_an_error(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    Not even its chips are known; the others are.
    """
    faulty = card(1) + "fault dcmi_get_device_num_in_card -8012\n"
    dcmi.show(card(0) + faulty, DRIVER)

    assert {"NPU 1": "dcmi_get_device_num_in_card: -8012 (not ready)"} == plugin.errors()


@pytest.mark.promise("P5")
def test_a_card_that_vanishes_stays_listed_until_it_returns(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    A lost chip keeps its name and has no memory; it is unhealthy, and as before when it is back.
    """
    dcmi.show(cards(2), DRIVER)
    before = plugin.devices()

    dcmi.show(cards(1), DRIVER)
    lost = plugin.devices()[SECOND]

    assert ("Ascend 910B3", None) == (lost.product, lost.memory_bytes)
    assert Health.UNHEALTHY is plugin.health([SECOND])[SECOND][0]
    assert "libdcmi.so does not list this card" in plugin.health([SECOND])[SECOND][1][0]
    with pytest.raises(PluginRaisedError, match=f"{SECOND} cannot be handed over: libdcmi.so does not list"):
        plugin.expose([SECOND])

    dcmi.show(cards(2), DRIVER)
    assert before == plugin.devices()


def test_memory_of_a_board_is_ddr(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    A chip without HBM has its board's DDR: all of it, used is what is not available; two chips of one address are two.
    """
    lines = "hbm 0\nddr 44278\nddr_free 43023\n"
    both = "".join(f"chip 2944 {each}\nlogic {each}\nphy {each}\nname 310P3\nbus 12\n{lines}" for each in (0, 1))
    dcmi.show(both, DRIVER)

    devices = plugin.devices()
    (sample, _) = plugin.sample(list(devices))

    assert ["0000:0c:00.0", "0000:0c:00.0-chip1"] == list(devices)
    assert {("310p", 44278 * MIB)} == {(device.architecture, device.memory_bytes) for device in devices.values()}
    assert 1255 * MIB == sample.used_bytes


def test_dies_and_boards_are_linked(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    Two dies of one A3 card reach one another by SIO, others by HCCS; the way over PCIe is no link.
    """
    die = "chip 0 {n}\nlogic {n}\nphy {n}\nname Ascend910\nnpu_name Ascend910_9392\nbus {n}\nhbm 65536\nhbm_used 3397\n"
    dcmi.show(
        die.format(n=0) + "link 0 1 6\nlink 0 2 7\nlink 0 3 1\n" + "".join(die.format(n=n) for n in (1, 2, 3)), DRIVER
    )

    first = plugin.devices()["0000:00:00.0"]

    assert ("Ascend 910_9392", "a3") == (first.product, first.architecture)
    assert (
        Link(device_id="0000:01:00.0", kind="SIO"),
        Link(device_id="0000:02:00.0", kind="HCCS_SW"),
    ) == first.links


def test_the_second_generation_of_the_api(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    Ascend 950's driver answers the second generation's questions only.
    """
    dcmi.show(card(0, "name Ascend950PR", "hbm 131072"), f"{DRIVER}second 1\n")

    device = plugin.devices()[FIRST]
    (sample,) = plugin.sample([FIRST])

    assert ("Ascend 950PR", "950", 131072 * MIB, 0) == (
        device.product,
        device.architecture,
        device.memory_bytes,
        device.index,
    )
    assert (3318 * MIB, 0.37, 43.0, 101.8) == (
        sample.used_bytes,
        sample.utilization_ratio,
        sample.temperature_celsius,
        sample.power_watts,
    )
    assert (Health.HEALTHY, ()) == plugin.health([FIRST])[FIRST]


def test_an_old_driver_tells_less(tmp_path: Path, old_compiled: Path, child: StartChild) -> None:
    """
    Without a newer driver's functions the cards are found by the old ones, and the rest is unknown.
    """
    dcmi = FakeLibrary(tmp_path / "old", old_compiled)
    dcmi.show(card(0, "ip 10.0.0.1", "process 4711 5"), DRIVER)
    plugin = child(PACKAGE, dcmi.folder)

    device = plugin.devices()[FIRST]
    (sample,) = plugin.sample([FIRST])

    assert ("Ascend 910B3", 65536 * MIB, "") == (device.product, device.memory_bytes, device.network_address)
    assert (3318 * MIB, ()) == (sample.used_bytes, sample.processes)


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        (("hbm_used 99999999",), "used_bytes"),
        (("hbm_used 18446744073709551615",), "used_bytes"),
        (("hbm 18446744073709551615",), "used_bytes"),
        (("aicore 4000",), "utilization_ratio"),
        (("temperature 65535",), "temperature_celsius"),
        (("power -1",), "power_watts"),
        (("power 2147483647",), "power_watts"),
    ],
)
@pytest.mark.promise("P5")
def test_figures_that_cannot_be_are_unknown(
    dcmi: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], field: str
) -> None:
    """
    More used than there is, 4000 % or 65535 °C are no figures; the others stand.
    """
    dcmi.show(card(0), DRIVER)
    plugin.devices()
    (whole,) = plugin.sample([FIRST])

    dcmi.show(card(0, *lines), DRIVER)
    (less,) = plugin.sample([FIRST])

    assert None is getattr(less, field)
    assert {field} == {name for name in type(whole).__slots__ if getattr(whole, name) != getattr(less, name)}


def test_a_count_that_cannot_be_is_no_list(dcmi: FakeLibrary, plugin: PluginChild) -> None:
    """
    A library that tells of a million cards is not believed, and said to be wrong.
    """
    dcmi.show(cards(1), f"{DRIVER}count 1000000\n")

    with pytest.raises(PluginRaisedError, match="dcmi_get_card_list: told of 1000000 cards"):
        plugin.fingerprint()
