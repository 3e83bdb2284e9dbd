"""MIM and sMLU: instances that are devices, what they use, and how a container gets one."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_cambricon.plugin import Cambricon
from motorpool_sdk import Device, Exposure, Health, MemoryKind, Sample
from motorpool_sdk.testing.machine import FakeBus, FakeCommand, FakeLibrary, PluginChild, PluginRaisedError
from tests.plugins.accelerators.cambricon.cards import TABLE, address, card
from tests.plugins.accelerators.conftest import StartChild
from tests.plugins.accelerators.harness.rooted import rooted

PACKAGE = "motorpool_cambricon"
MIB, GIB = 2**20, 2**30
FIRST, SECOND = address(0), address(1)
ONE, OTHER = "MLU-B0001012-1916-0000-0000-000000000000", "MLU-C0001012-1916-0000-0000-000000000000"
NODE, NEXT_NODE = "/dev/cambricon-caps/cap_dev2_mi1", "/dev/cambricon-caps/cap_dev2_mi3"
MIM = (
    f"mim {ONE[4:]} 2m.16gb 1 16384 700 41 {NODE}",
    f"mim {OTHER[4:]} 4m.32gb 3 32768 0 0 {NEXT_NODE}",
)
SMLU = (
    f"smlu {ONE[4:]} 1.vmlu 1 17179869184 1234567 {NODE}",
    f"smlu {OTHER[4:]} 2.vmlu 3 34359738368 0 {NEXT_NODE}",
)


@pytest.fixture(name="plugin")
def make_plugin(cndev: FakeLibrary, child: StartChild) -> PluginChild:
    """The plugin on two cards, of which the first is divided by MIM."""
    cndev.show(card(0, *MIM) + card(1))
    return child(PACKAGE, cndev.folder)


@pytest.mark.parametrize(
    ("lines", "product", "used_bytes", "ratio"),
    [
        (MIM, "Cambricon MLU590-M9 MIM 2m.16gb", 700 * MIB, 0.41),
        (SMLU, "Cambricon MLU590-M9 sMLU 1.vmlu", 1234567, None),
    ],
)
def test_instances_are_devices_of_their_card(
    cndev: FakeLibrary,
    plugin: PluginChild,
    lines: tuple[str, ...],
    product: str,
    used_bytes: int,
    ratio: float | None,
) -> None:
    """
    Each is a device by its UUID with its own memory and figures, and no index; it names its card, which stays listed.
    """
    cndev.show(card(0, *lines) + card(1))
    devices = plugin.devices()

    assert [FIRST, ONE, OTHER, SECOND] == list(devices)
    assert (
        Device(
            device_id=ONE,
            vendor="cambricon",
            framework="neuware",
            product=product,
            pci_address=FIRST,
            driver_version="6.2.11",
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=16 * GIB,
            partition_of=FIRST,
        )
        == devices[ONE]
    )
    assert (32 * GIB, FIRST) == (devices[OTHER].memory_bytes, devices[OTHER].partition_of)
    assert Sample(device_id=ONE, used_bytes=used_bytes, utilization_ratio=ratio) == plugin.sample([ONE])[0]
    assert (Health.HEALTHY, ()) == plugin.health([ONE])[ONE]


def test_what_an_instance_uses_is_asked_anew(cndev: FakeLibrary, plugin: PluginChild) -> None:
    """
    A measurement is of now; an instance that was taken away since is measured no more, and then is gone.
    """
    cndev.show(card(0, *SMLU))
    plugin.fingerprint()
    cndev.show(card(0, f"smlu {ONE[4:]} 1.vmlu 1 17179869184 2222222 {NODE}"))

    assert [2222222, None] == [sample.used_bytes for sample in plugin.sample([ONE, OTHER])]
    assert [FIRST, ONE] == list(plugin.devices())


@pytest.mark.promise("P5")
def test_memory_of_an_instance_that_is_not_told_is_unknown(cndev: FakeLibrary, plugin: PluginChild) -> None:
    """
    Where CNDEV has no handle for an instance, its size is unknown, and nothing is placed on it.
    """
    cndev.show(card(0, *MIM, "fault cndevGetMluInstanceById 10"))

    assert [None, None] == [plugin.devices()[key].memory_bytes for key in (ONE, OTHER)]
    assert [Sample(device_id=ONE)] == [each for each in plugin.sample([ONE]) if each.used_bytes is None]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mode mim", "has no instance, so that nothing can run on it"),
        ("mode smlu", "has no instance, so that nothing can run on it"),
    ],
)
def test_a_card_without_instances_is_not_used(cndev: FakeLibrary, plugin: PluginChild, line: str, said: str) -> None:
    """
    A card that is set to be divided and is not is unhealthy, with what to do; its neighbour is well.
    """
    cndev.show(card(0, line) + card(1))
    plugin.fingerprint()

    report = plugin.health([FIRST, SECOND])

    assert (Health.UNHEALTHY, Health.HEALTHY) == (report[FIRST][0], report[SECOND][0])
    assert said in report[FIRST][1][0]
    with pytest.raises(PluginRaisedError, match=f"{FIRST} cannot be handed over: it is set to be divided"):
        plugin.expose([FIRST])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((*MIM, "fault cndevGetAllMluInstanceInfo 13"), "cndevGetAllMluInstanceInfo: 13 (not permitted)"),
        ((*SMLU, "fault cndevGetAllSMluInstanceInfo 7"), "cndevGetAllSMluInstanceInfo: 7 (unknown error)"),
        ((*SMLU, "instances 129"), "told of 129 instances, which cannot be"),
    ],
)
@pytest.mark.promise("P5")
def test_a_card_whose_instances_cannot_be_read_is_not_used(
    cndev: FakeLibrary, plugin: PluginChild, lines: tuple[str, ...], said: str
) -> None:
    """
    It is unhealthy with the driver's reason, and not handed over as a whole.
    """
    cndev.show(card(0, *lines) + card(1))

    assert {FIRST, SECOND} <= set(plugin.devices())
    health, (reason,) = plugin.health([FIRST])[FIRST]
    assert (Health.UNHEALTHY, True) == (health, said in reason)


def test_a_container_gets_one(cndev: FakeLibrary, tmp_path: Path, child: StartChild) -> None:
    """
    The card's nodes and its own; a process cannot have it, nor anybody the whole, or two.
    """
    bus = FakeBus(tmp_path / "machine")
    bus.touch("/dev/cambricon_ctl", "/dev/cambricon_dev2", "/dev/cambricon_ipcm2", "/usr/bin/cnmon", NODE)
    cndev.show(card(0, *MIM) + card(1))
    env = rooted(tmp_path / "made", PACKAGE, "Cambricon", bus.root)
    plugin = child("rooted", cndev.folder, module="rooted.plugin", env=env)

    exposure = plugin.expose([ONE])

    assert (
        Exposure(
            container_env={"MLU_VISIBLE_DEVICES": "0"},
            device_nodes=("/dev/cambricon_ctl", "/dev/cambricon_dev2", "/dev/cambricon_ipcm2", NODE),
            mounts={"/usr/bin/cnmon": "/usr/bin/cnmon"},
            groups=exposure.groups,
            container_only=f"Cambricon's driver gives MIM instance 1 of {FIRST} to what has {NODE} and no other, as "
            "containers do",
        )
        == exposure
    )
    with pytest.raises(PluginRaisedError, match="it is divided into partitions"):
        plugin.expose([FIRST])
    with pytest.raises(PluginRaisedError, match="a partition is handed over alone"):
        plugin.expose([ONE, OTHER])


def test_nodes_of_instances_that_nobody_tells_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where only cnmon answers, a card that has nodes of instances is not used, and says which.
    """
    command = FakeCommand(tmp_path / "bin", "cnmon")
    command.prints("", TABLE)
    monkeypatch.setenv("PATH", str(command.folder), prepend=":")
    bus = FakeBus(tmp_path)
    bus.touch("/dev/cambricon-caps/cap_dev0_mi1")
    plugin = Cambricon(tmp_path)
    plugin.fingerprint()

    health, (reason,) = plugin.health([FIRST])[FIRST]

    assert Health.UNHEALTHY is health
    assert "nodes of instances (/dev/cambricon-caps/cap_dev0_mi1) and cnmon tells of none" in reason
