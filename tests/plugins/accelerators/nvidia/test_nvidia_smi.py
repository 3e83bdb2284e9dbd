"""What nvidia-smi tells where NVML cannot be used, as it was recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from motorpool_nvidia.nvidia_smi import CARDS, CARDS_OF_OLD, ERRORS, table
from motorpool_sdk import Device, Health, MemoryKind, Process, Sample
from motorpool_sdk.testing.machine import FakeCommand, PluginChild, PluginRaisedError
from tests.plugins.accelerators.conftest import StartChild
from tests.plugins.accelerators.nvidia.machine import FakeNvml, two_cards
from tests.plugins.accelerators.nvidia.smi import columns, printed, recording

MIB = 2**20
ZEROS = "0000-0000-0000-000000000000"
CARD = f"GPU-00000000-{ZEROS}"
StartSmi = Callable[..., PluginChild]


@pytest.fixture(name="smi")
def make_smi(tmp_path: Path, child: StartChild) -> StartSmi:
    """Start the plugin with no NVML, beside an nvidia-smi that prints what it did on a machine, but for some of it."""

    def start(machine: str, **instead: str) -> PluginChild:
        command = FakeCommand(tmp_path / "bin", "nvidia-smi")
        said = printed(machine)
        by_name = {"cards": f"{CARDS} --format=csv", "errors": f"{ERRORS} --format=csv", "listed": "-L"}
        for arguments, text in {**said, **{by_name[name]: text for name, text in instead.items()}}.items():
            command.prints(arguments, text)
        return child("motorpool_nvidia", command.folder)

    return start


@pytest.mark.parametrize(
    ("machine", "product", "address", "memory_bytes", "capability", "driver"),
    [
        ("h100", "NVIDIA H100 80GB HBM3", "0000:00:09.0", (81559 - 479) * MIB, "9.0", "590.48.01"),
        ("l40s", "NVIDIA L40S", "0000:01:00.0", (46068 - 609) * MIB, "8.9", "595.80"),
    ],
)
def test_a_recorded_card_is_told_whole(
    smi: StartSmi, machine: str, product: str, address: str, memory_bytes: int, capability: str, driver: str
) -> None:
    """
    Everything that nvidia-smi tells of a card stands in its device, by the UUID that NVML tells too.
    """
    assert [
        Device(
            device_id=CARD,
            vendor="nvidia",
            framework="cuda",
            product=product,
            index=0,
            pci_address=address,
            compute_capability=capability,
            driver_version=driver,
            runtime_version="13.1",
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=memory_bytes,
        )
    ] == smi(machine).fingerprint()


def test_a_recorded_card_is_measured(smi: StartSmi) -> None:
    """
    Bytes without those that the driver reserves, ratio, degrees, watts, and processes with theirs.
    """
    assert (
        Sample(
            device_id=CARD,
            used_bytes=19818 * MIB,
            utilization_ratio=1.0,
            temperature_celsius=59.0,
            power_watts=631.95,
            processes=(Process(pid=11327, used_bytes=2566 * MIB),),
        ),
    ) == smi("h100").sample([CARD])


@pytest.mark.parametrize(
    ("machine", "profiles"),
    [
        ("h100-mig", ["3g.40gb", "2g.20gb", "1g.10gb", "1g.10gb"]),
        ("h200-mig", ["1c.3g.71gb", "2c.3g.71gb", "2g.35gb", "1g.18gb", "1g.18gb"]),
    ],
)
def test_recorded_partitions_are_devices(smi: StartSmi, machine: str, profiles: list[str]) -> None:
    """
    MIG partitions are listed by UUID and name their card; their memory is not told, so that nothing is placed there.
    """
    plugin = smi(machine)
    devices = plugin.devices()
    parts = [f"MIG-{number:08d}-0000-0000-0000-{number:012d}" for number in range(len(profiles))]

    assert [CARD, *parts] == list(devices)
    assert [f"MIG {profile}" for profile in profiles] == [devices[part].product for part in parts]
    assert {(CARD, None)} == {(devices[part].partition_of, devices[part].memory_bytes) for part in parts}
    assert (Sample(device_id=parts[0]),) == plugin.sample([parts[0]])
    assert {Health.HEALTHY} == {health for health, _ in plugin.health([CARD, *parts]).values()}
    assert parts[1] == plugin.expose([parts[1]]).env["CUDA_VISIBLE_DEVICES"]


def test_mig_without_partitions_is_unhealthy(smi: StartSmi) -> None:
    """
    As with NVML: nothing can run on a card that is divided into nothing.
    """
    plugin = smi("h100-mig", listed=recording("list_h100_"))

    health, (reason,) = plugin.health([CARD])[CARD]

    assert (Health.UNHEALTHY, True) == (health, "MIG is on and there is no partition" in reason)


@pytest.mark.parametrize(
    ("old", "new", "health", "said"),
    [
        (", 0, [N/A]", ", 3, [N/A]", Health.UNHEALTHY, "3 uncorrectable ECC errors"),
        ("No, No", "Yes, No", Health.UNHEALTHY, "rows of memory wait to be replaced"),
        ("No, No", "No, Yes", Health.UNHEALTHY, "could not be replaced by a spare one"),
        ("No, No", "[N/A], [N/A]", Health.HEALTHY, ""),
        ("No, No", "[Unknown Error], No", Health.UNKNOWN, "prints '[Unknown Error]' as remapped_rows.pending"),
    ],
)
def test_errors_are_health(smi: StartSmi, old: str, new: str, health: Health, said: str) -> None:
    """
    Counters that are told speak for or against a card; one that it does not have does neither.
    """
    errors = columns(recording("query-gpu_h100_"), ERRORS)
    assert old in errors
    plugin = smi("h100", errors=errors.replace(old, new))

    report = plugin.health([CARD])[CARD]

    assert (health, True) == (report[0], said in "".join(report[1]))


def test_an_older_driver_knows_less(tmp_path: Path, child: StartChild) -> None:
    """
    One that does not know a column prints none: then it is asked for what all know.
    """
    command = FakeCommand(tmp_path / "bin", "nvidia-smi")
    command.prints(f"{CARDS} --format=csv", 'Field "compute_cap" is not a valid field to query.\n')
    command.prints(f"{CARDS_OF_OLD} --format=csv", columns(recording("query-gpu_l40s_"), CARDS_OF_OLD))

    (device,) = child("motorpool_nvidia", command.folder).fingerprint()

    assert isinstance(device, Device)
    assert (46068 * MIB, "", "NVIDIA L40S") == (device.memory_bytes, device.compute_capability, device.product)


@pytest.mark.parametrize("memory", ["[N/A]", "[Not Supported]"])
def test_unified_memory_is_no_size(smi: StartSmi, memory: str) -> None:
    """
    A card whose memory is the machine's (GB10) says so, and has no bytes.
    """
    cards = columns(recording("query-gpu_h100_"), CARDS).replace("81559 MiB", memory)

    (device,) = smi("h100", cards=cards).fingerprint()

    assert isinstance(device, Device)
    assert (MemoryKind.UNIFIED, None) == (device.memory_kind, device.memory_bytes)


def test_nvml_is_asked_first(nvml: FakeNvml, tmp_path: Path, child: StartChild) -> None:
    """
    While NVML answers nobody runs nvidia-smi; when its driver is gone nvidia-smi is told as what answers.
    """
    command = FakeCommand(tmp_path / "bin", "nvidia-smi")
    for arguments, text in printed("h100").items():
        command.prints(arguments, text)
    nvml.show(two_cards())
    plugin = child("motorpool_nvidia", nvml.folder, command.folder)

    assert 2 == len(plugin.devices())
    assert [("libnvidia-ml.so.1", True), ("nvidia-smi", False)] == [
        (source.name, source.in_use) for source in plugin.sources()
    ]
    assert [] == command.asked

    without = child("motorpool_nvidia", command.folder)
    assert [CARD] == list(without.devices())
    first, second = without.sources()
    assert "NVML cannot be loaded" in first.failure
    assert (str(command.folder / "nvidia-smi"), "", True) == (second.path, second.failure, second.in_use)


def test_where_nobody_answers_both_say_why(tmp_path: Path, child: StartChild) -> None:
    """
    The error has NVML's reason, and what nvidia-smi printed in place of a table.
    """
    command = FakeCommand(tmp_path / "bin", "nvidia-smi")
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    for query in (CARDS, CARDS_OF_OLD):
        command.prints(f"{query} --format=csv", said)

    with pytest.raises(
        PluginRaisedError, match=r"NVML cannot be loaded.*nvidia-smi` printed no table of cards, but .*fail"
    ):
        child("motorpool_nvidia", command.folder).fingerprint()


def test_what_stands_before_the_header_is_passed_over() -> None:
    """
    Warnings come first; half a row is none.
    """
    text = "WARNING: infoROM is corrupted at gpu 0000:00:09.0\nuuid, memory.used [MiB]\nGPU-1, 5 MiB\nGPU-2\n"

    assert [{"uuid": "GPU-1", "memory.used": "5 MiB"}] == table(text, "uuid")
