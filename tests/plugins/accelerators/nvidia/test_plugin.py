"""Measurements, health and handing over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_nvidia.driver import Driver
from motorpool_nvidia.plugin import BUS, Nvidia
from motorpool_nvidia.records import Card, DriverError, Unreadable
from motorpool_sdk import Exposure, Health, Process, Sample
from motorpool_sdk.testing.machine import FakeBus
from tests.plugins.accelerators.nvidia.conftest import StartPlugin
from tests.plugins.accelerators.nvidia.machine import FIRST, SECOND, FakeNvml, PluginRaisedError, card, two_cards

MIB = 2**20
CHECKS = ("ecc", "remap", "retire")


def test_a_card_is_measured(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    Bytes, ratio, degrees, watts and processes; the bytes of one that NVML does not tell are unknown.
    """
    lines = ("process 4711 1500", "process 4712 ?", "graphics 4711 1500", "graphics 4713 7", "process 0 3")
    nvml.show(card(FIRST, *lines, used=2000))

    assert (
        Sample(
            device_id=FIRST,
            used_bytes=2000 * MIB,
            utilization_ratio=0.37,
            temperature_celsius=43.0,
            power_watts=71.5,
            processes=(
                Process(pid=4711, used_bytes=1500 * MIB),
                Process(pid=4712),
                Process(pid=4713, used_bytes=7 * MIB),
            ),
        ),
    ) == start(nvml.folder).sample([FIRST])


def test_measurements_follow_the_card(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    What others take of a card's memory shows in the next measurement.
    """
    nvml.show(two_cards())
    plugin = start(nvml.folder)
    before = [sample.used_bytes for sample in plugin.sample([FIRST, SECOND])]

    nvml.show(card(used=30000) + card(SECOND))

    assert [16 * MIB, 16 * MIB] == before
    assert [30000 * MIB, 16 * MIB] == [sample.used_bytes for sample in plugin.sample([FIRST, SECOND])]


@pytest.mark.promise("P5")
def test_unknown_figures_are_none(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    Each figure that a card does not tell is None, never 0.
    """
    nvml.show(card(FIRST, "fault all 3"))

    assert (Sample(device_id=FIRST),) == start(nvml.folder).sample([FIRST])


def test_figures_that_cannot_be_are_unknown(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    NVML's way of saying "no value" is no wattage, and 4000 % is no utilisation.
    """
    nvml.show(card(FIRST, "power 4294967295", "util 4000"))
    (sample,) = start(nvml.folder).sample([FIRST])

    assert (None, None) == (sample.power_watts, sample.utilization_ratio)


def test_a_lost_card_has_no_measurement(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    Only the cards that answer are measured.
    """
    nvml.show(card() + card(SECOND, "fault handle 15"))

    assert [FIRST] == [sample.device_id for sample in start(nvml.folder).sample([FIRST, SECOND])]


def test_a_sound_card_is_healthy(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    A card that answers and has no fault is healthy, also one that has no error correction at all.
    """
    nvml.show(card() + card(SECOND, *(f"fault {word} 3" for word in CHECKS)))

    assert {FIRST: (Health.HEALTHY, ()), SECOND: (Health.HEALTHY, ())} == start(nvml.folder).health([FIRST, SECOND])


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("ecc 2",), "2 uncorrectable ECC errors"),
        (("remap 1 0",), "wait to be replaced"),
        (("remap 0 1",), "replace the card"),
        (("retire 1",), "pages of memory wait"),
        (("mig 1",), "MIG is on and there is no partition"),
        (("fault memory 15",), "NVML does not reach the card: GPU is lost"),
        (("fault handle 15",), "NVML does not reach the card: GPU is lost"),
    ],
)
def test_a_bad_card_is_unhealthy_for_a_reason(
    nvml: FakeNvml, start: StartPlugin, lines: tuple[str, ...], reason: str
) -> None:
    """
    Double-bit errors, memory that waits for a reset, a lost card: unhealthy, with what to do; the other card is well.
    """
    nvml.show(card(FIRST, *lines) + card(SECOND))
    report = start(nvml.folder).health([FIRST, SECOND])

    (health, (told,)) = report[FIRST]
    assert Health.UNHEALTHY is health
    assert reason in told
    assert (Health.HEALTHY, ()) == report[SECOND]


@pytest.mark.parametrize("word", CHECKS)
def test_a_check_that_fails_leaves_health_unknown(nvml: FakeNvml, start: StartPlugin, word: str) -> None:
    """
    A question about health that is not answered is not taken for good news.
    """
    nvml.show(card(FIRST, f"fault {word} 999"))
    (health, (told,)) = start(nvml.folder).health([FIRST])[FIRST]

    assert Health.UNKNOWN is health
    assert "NVML does not tell about" in told


def test_a_partition_is_as_well_as_its_card(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    Errors are counted by the card, and concern each of its partitions.
    """
    nvml.show(card(FIRST, "mig 1", "ecc 1", "partition MIG-a", "total 9984"))

    assert Health.UNHEALTHY is start(nvml.folder).health(["MIG-a"])["MIG-a"][0]


def test_cards_are_handed_over_by_uuid(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    The environment names exactly the chosen cards, in their order, for processes and containers.
    """
    nvml.show(two_cards())
    listed = f"{SECOND},{FIRST}"

    assert Exposure(
        env={
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": listed,
            "NVIDIA_VISIBLE_DEVICES": listed,
            "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        },
        container_runtime="nvidia",
        cdi_devices=(f"nvidia.com/gpu={SECOND}", f"nvidia.com/gpu={FIRST}"),
    ) == start(nvml.folder).expose([SECOND, FIRST])


def test_no_card_is_handed_over_as_none(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    An empty list hides every card.
    """
    nvml.show(two_cards())
    env = start(nvml.folder).expose([]).env

    assert ("", "void") == (env["CUDA_VISIBLE_DEVICES"], env["NVIDIA_VISIBLE_DEVICES"])


def test_a_card_that_is_not_there_is_not_handed_over(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    Handing over a lost card is refused by name.
    """
    nvml.show(card())

    with pytest.raises(
        PluginRaisedError, match=f"{SECOND} cannot be handed over: NVML does not reach the card: Not Found"
    ):
        start(nvml.folder).expose([FIRST, SECOND])


def test_one_partition_a_process(nvml: FakeNvml, start: StartPlugin) -> None:
    """
    A partition is handed over alone, as CUDA would ignore all but the first.
    """
    nvml.show(card(FIRST, "mig 1", "partition MIG-a", "total 9984", "partition MIG-b", "total 9984"))
    plugin = start(nvml.folder)

    assert "MIG-b" == plugin.expose(["MIG-b"]).env["CUDA_VISIBLE_DEVICES"]
    with pytest.raises(PluginRaisedError, match="CUDA gives a process one MIG partition"):
        plugin.expose(["MIG-a", "MIG-b"])


class BrokenDriver(Driver):
    """A driver whose NVML cannot be used."""

    def cards(self) -> list[Card | Unreadable]:
        raise DriverError("NVML cannot be loaded: no such file")


def test_cards_without_a_driver_are_listed_as_unhealthy(tmp_path: Path) -> None:
    """
    What only the PCI bus shows has a name, no memory, and the reason; sound of the same vendor is no card.
    """
    bus = FakeBus(tmp_path)
    bus.add("0000:3b:00.0", pci_id="10de:2330", pci_class="030200")
    bus.add("0000:3b:00.1", pci_id="10de:22ba", pci_class="040300", driver="snd_hda_intel")
    plugin = Nvidia(BrokenDriver(), replace(BUS, root=tmp_path))

    (device,) = plugin.fingerprint()
    assert ("0000:3b:00.0", None) == (device.device_id, getattr(device, "memory_bytes", 0))
    health, (reason,) = plugin.health(["0000:3b:00.0"])["0000:3b:00.0"]
    assert Health.UNHEALTHY is health
    for said in ("no kernel driver is bound", "NVML cannot be loaded: no such file", "install NVIDIA's driver"):
        assert said in reason
    assert [] == plugin.sample(["0000:3b:00.0"])
    with pytest.raises(LookupError, match="no kernel driver is bound"):
        plugin.expose(["0000:3b:00.0"])
