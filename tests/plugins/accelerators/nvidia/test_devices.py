"""What is found: cards, partitions, links, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_sdk import Device, Health, Link, MemoryKind
from tests.plugins.accelerators.nvidia.conftest import StartPlugin
from tests.plugins.accelerators.nvidia.machine import FIRST, SECOND, FakeNvml, PluginRaisedError, card, two_cards

MIB = 2**20


def test_a_card_is_told_whole(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    Everything that NVML tells of a card stands in its device; what the driver reserves is no memory to hand out.
    """
    nvml.show(card())

    assert [
        Device(
            device_id=FIRST,
            vendor="nvidia",
            framework="cuda",
            product="NVIDIA H100 80GB HBM3",
            index=0,
            pci_address="0000:0a:00.0",
            architecture="Hopper",
            compute_capability="9.0",
            driver_version="580.95.05",
            runtime_version="13.0",
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=(81559 - 551) * MIB,
        )
    ] == start(nvml.folder).fingerprint()


@pytest.mark.parametrize(
    ("word", "field", "unknown"),
    [
        ("name", "product", ""),
        ("bus", "pci_address", ""),
        ("architecture", "architecture", ""),
        ("capability", "compute_capability", ""),
        ("memory", "memory_bytes", None),
    ],
)
@pytest.mark.promise("P5")
def test_one_unknown_field_loses_one_field(
    nvml: FakeNvml, start: StartPlugin, word: str, field: str, unknown: object
) -> None:
    """
    A question that NVML does not answer leaves that field unknown, and all others as they are.
    """
    nvml.show(card())
    plugin = start(nvml.folder)
    whole = plugin.devices()[FIRST]

    nvml.show(card(FIRST, f"fault {word} 999"))
    less = plugin.devices()[FIRST]

    names = set(Device.__slots__) - {"memory_kind"}
    assert unknown == getattr(less, field)
    assert {field} == {name for name in names if getattr(whole, name) != getattr(less, name)}


@pytest.mark.promise("P5")
@pytest.mark.promise("P9")
def test_nonsense_loses_its_field(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    An address that is none, and a name of bytes that are no text, are unknown; the card is there.
    """
    nvml.show(card(FIRST, "bus nowhere", "name NVIDIA \udcff\udcfe"))

    device = start(nvml.folder).devices()[FIRST]

    assert ("", "", "Hopper") == (device.pci_address, device.product, device.architecture)


@pytest.mark.parametrize("lines", [("fault memory 3",), ("total 0",)])
def test_memory_of_the_machine_is_unknown_and_not_none(
    nvml: FakeNvml, start: StartPlugin, lines: tuple[str, ...]
) -> None:
    """
    A card that has no memory of its own says so, with unknown bytes in device and measurement.
    """
    nvml.show(card(FIRST, "name NVIDIA GB10", *lines))
    plugin = start(nvml.folder)

    device = plugin.devices()[FIRST]
    (sample,) = plugin.sample([FIRST])

    assert (MemoryKind.UNIFIED, None) == (device.memory_kind, device.memory_bytes)
    assert (None, 0.37) == (sample.used_bytes, sample.utilization_ratio)


def test_identity_outlives_the_order(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    The id stays with the card when indexes change.
    """
    nvml.show(two_cards())
    plugin = start(nvml.folder)
    before = {key: device.index for key, device in plugin.devices().items()}

    nvml.show(card(SECOND, bus="00000000:1B:00.0") + card())

    assert {FIRST: 0, SECOND: 1} == before
    assert {FIRST: 1, SECOND: 0} == {key: device.index for key, device in plugin.devices().items()}


@pytest.mark.promise("P5")
@pytest.mark.parametrize("word", ["handle", "uuid"])
def test_one_bad_card_loses_one_card(nvml: FakeNvml, start: StartPlugin, word: str) -> None:
    """
    A card that cannot be named is an error beside the others.
    """
    nvml.show(card() + card(SECOND, f"fault {word} 15"))
    plugin = start(nvml.folder)

    assert [FIRST] == list(plugin.devices())
    assert {"index 1": "the card cannot be read: GPU is lost; see `nvidia-smi` and `dmesg`"} == plugin.errors()


@pytest.mark.parametrize("scenario", [card() + card(SECOND, "fault handle 15"), card()])
def test_a_card_that_was_there_stays_listed(nvml: FakeNvml, start: StartPlugin, scenario: str) -> None:
    """
    A card that falls off the bus is listed as lost, its memory unknown, until it is back.
    """
    nvml.show(two_cards())
    plugin = start(nvml.folder)
    before = plugin.devices()[SECOND]

    nvml.show(scenario)
    lost = plugin.devices()[SECOND]
    (health, reasons) = plugin.health([SECOND])[SECOND]

    assert (before.product, None) == (lost.product, lost.memory_bytes)
    assert Health.UNHEALTHY is health
    assert "NVML does not reach the card" in reasons[0]
    assert {} == plugin.errors()

    nvml.show(two_cards())
    assert before == plugin.devices()[SECOND]


def test_partitions_are_devices(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    MIG partitions are devices of their own that name their card; a number without one is no device.
    """
    nvml.show(
        card(
            FIRST,
            *("mig 1", "hole", "partition MIG-a", "name NVIDIA H100 80GB HBM3 MIG 1g.10gb"),
            *("total 9984", "used 16", "gpu_instance 11"),
            *("partition MIG-b", "total 20096", "gpu_instance 6"),
        )
    )
    devices = start(nvml.folder).devices()

    assert {FIRST: "", "MIG-a": FIRST, "MIG-b": FIRST} == {key: each.partition_of for key, each in devices.items()}
    assert (9984 * MIB, None, "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "0000:0a:00.0", "9.0") == (
        devices["MIG-a"].memory_bytes,
        devices["MIG-a"].index,
        devices["MIG-a"].product,
        devices["MIG-a"].pci_address,
        devices["MIG-a"].compute_capability,
    )


@pytest.mark.promise("P2")
def test_shared_memory_of_partitions_is_not_given_twice(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    Compute instances of one GPU instance each report its whole memory: which of it is whose is unknown.
    """
    nvml.show(
        card(
            FIRST,
            *("mig 1", "partition MIG-a", "total 72000", "gpu_instance 1"),
            *("partition MIG-b", "total 72000", "gpu_instance 1", "partition MIG-c", "total 9984", "gpu_instance 2"),
        )
    )
    devices = start(nvml.folder).devices()

    assert [None, None, 9984 * MIB] == [devices[key].memory_bytes for key in ("MIG-a", "MIG-b", "MIG-c")]


def test_partitions_may_be_taken_away(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    A partition that somebody removed is no device any more, and nothing is lost.
    """
    nvml.show(card(FIRST, "mig 1", "partition MIG-a", "total 9984", "gpu_instance 1"))
    plugin = start(nvml.folder)
    assert {FIRST, "MIG-a"} == set(plugin.devices())

    nvml.show(card())

    assert {FIRST} == set(plugin.devices())


def test_links_between_cards(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    NVLinks to another card are counted, with their speed in one direction.
    """
    first = card(FIRST, f"link {SECOND}", f"link {SECOND}", "speed 26562")
    second = card(SECOND, f"link {FIRST}", f"link {FIRST}", bus="00000000:1B:00.0")
    nvml.show(first + second)
    devices = start(nvml.folder).devices()

    assert (Link(device_id=SECOND, kind="NVLink x2", bandwidth_bytes_per_second=53_124_000_000),) == devices[
        FIRST
    ].links
    assert (Link(device_id=FIRST, kind="NVLink x2"),) == devices[SECOND].links


def test_cards_on_switches_reach_one_another(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    A switch is no card: those that hang on it are linked to each other.
    """
    nvml.show(card(FIRST, "link switch", "link switch") + card(SECOND, "link switch", bus="00000000:1B:00.0"))
    devices = start(nvml.folder).devices()

    assert (Link(device_id=SECOND, kind="NVSwitch x1"),) == devices[FIRST].links


def test_an_old_driver_tells_less(tmp_path: Path, old_library: Path, start: StartPlugin) -> None:
    """
    Without memory version 2, architecture, MIG and lists of processes, the rest is told.
    """
    nvml = FakeNvml(tmp_path / "old", old_library)
    nvml.show(card(used=1000))
    plugin = start(nvml.folder)

    device = plugin.devices()[FIRST]
    (sample,) = plugin.sample([FIRST])

    assert (81559 * MIB, "", "9.0") == (device.memory_bytes, device.architecture, device.compute_capability)
    assert ((1000 + 551) * MIB, ()) == (sample.used_bytes, sample.processes)
    assert {FIRST: (Health.HEALTHY, ())} == plugin.health([FIRST])


def test_without_a_library_the_error_says_what_to_do(tmp_path: Path, start: StartPlugin) -> None:
    """
    A machine without the driver's library is told which one, where it was looked for, and how to get it.
    """
    with pytest.raises(
        PluginRaisedError, match=r"libnvidia-ml\.so\.1: .*looked in .*/nowhere.*Install the NVIDIA driver"
    ):
        start(tmp_path / "nowhere").fingerprint()


def test_a_library_that_cannot_be_loaded_is_not_called_absent(tmp_path: Path, start: StartPlugin) -> None:
    """
    The loader's own words are in the error: a broken library is there and of no use.
    """
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")

    with pytest.raises(PluginRaisedError, match=r"too short|invalid ELF"):
        start(tmp_path).fingerprint()


@pytest.mark.parametrize(
    ("code", "advice"), [(9, "modprobe nvidia"), (18, "different versions"), (4, "may not open"), (999, "nvidia-smi")]
)
def test_a_driver_that_refuses_says_what_to_do(nvml: FakeNvml, start: StartPlugin, code: int, advice: str) -> None:
    """
    Where NVML gives no session, the error has its reason and a way out.
    """
    nvml.show("", first=f"init {code}\n")

    with pytest.raises(PluginRaisedError, match=f"NVML cannot be used: .*{advice}"):
        start(nvml.folder).fingerprint()
