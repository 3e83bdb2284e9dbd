"""sGPUs: slices of a card that are told, and neither they nor their card given away."""

from __future__ import annotations

import pytest

from motorpool_sdk import Device, Health, MemoryKind, Sample
from motorpool_sdk.testing.machine import FakeLibrary, PluginChild, PluginRaisedError
from tests.plugins.accelerators.conftest import StartChild
from tests.plugins.accelerators.metax.cards import FIRST_LINES, address, card

PACKAGE = "motorpool_metax"
GIB = 2**30
FIRST, SECOND = address(0), address(1)
ONE, OTHER = f"{FIRST}-sgpu0", f"{FIRST}-sgpu3"
SLICES = ("sgpu 0 16384 25 17179869184 1234567 3712", "sgpu 3 32768 50 -1 0 0")


@pytest.fixture(name="plugin")
def make_plugin(mxsml: FakeLibrary, child: StartChild) -> PluginChild:
    """The plugin on two cards, of which the first is shared by two sGPUs."""
    mxsml.show(card(0, *SLICES) + card(1), FIRST_LINES)
    return child(PACKAGE, mxsml.folder)


def test_slices_are_devices_of_their_card(plugin: PluginChild) -> None:
    """
    Each has its number, its share and its own figures, and names its card; memory that is not told is its quota.
    """
    devices = plugin.devices()

    assert [FIRST, ONE, OTHER, SECOND] == list(devices)
    assert (
        Device(
            device_id=ONE,
            vendor="metax",
            framework="maca",
            product="MetaX C500 sGPU 25 %",
            pci_address=FIRST,
            driver_version="3.4.4",
            runtime_version="3.3.0.15",
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=16 * GIB,
            partition_of=FIRST,
        )
        == devices[ONE]
    )
    assert 32 * GIB == devices[OTHER].memory_bytes
    assert (
        Sample(device_id=ONE, used_bytes=1234567, utilization_ratio=0.3712),
        Sample(device_id=OTHER, utilization_ratio=0.0),
    ) == plugin.sample([ONE, OTHER])


def test_neither_slices_nor_their_card_are_handed_over(plugin: PluginChild) -> None:
    """
    A slice is unhealthy and says why, and what is shared by slices is not given away as a whole; a card beside is.
    """
    plugin.fingerprint()
    report = plugin.health([ONE, FIRST, SECOND])

    assert [Health.UNHEALTHY, Health.HEALTHY, Health.HEALTHY] == [report[key][0] for key in (ONE, FIRST, SECOND)]
    assert f"sGPU 0 of {FIRST} is handed out by MetaX's container runtime alone" in report[ONE][1][0]
    with pytest.raises(PluginRaisedError, match=f"{ONE} cannot be handed over: sGPU 0"):
        plugin.expose([ONE])
    with pytest.raises(PluginRaisedError, match=f"{FIRST} cannot be handed over: it is divided into partitions"):
        plugin.expose([FIRST])
    assert {"CUDA_VISIBLE_DEVICES": "1"} == plugin.expose([SECOND]).env


@pytest.mark.promise("P5")
def test_a_card_whose_slices_cannot_be_read_is_not_used(mxsml: FakeLibrary, plugin: PluginChild) -> None:
    """
    It is unhealthy with the library's reason; once its slices are gone it is whole.
    """
    mxsml.show(card(0, *SLICES, "fault mxSmlGetSgpuInfo 4") + card(1), FIRST_LINES)

    assert [FIRST, SECOND] == list(plugin.devices())
    health, (reason,) = plugin.health([FIRST])[FIRST]
    assert Health.UNHEALTHY is health
    assert "shared by sGPUs that cannot be read: mxSmlGetSgpuInfo: 4 (sysfs cannot be read)" in reason

    mxsml.show(card(0) + card(1), FIRST_LINES)
    assert {"CUDA_VISIBLE_DEVICES": "0"} == plugin.expose([FIRST]).env
