"""The kernel's own files, the commands, handing over, and what answers where the library does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_amd.commands import ROCM_SMI
from motorpool_amd.plugin import Amd
from motorpool_sdk import Device, Exposure, Health, Link, MemoryKind, Sample
from motorpool_sdk.hardware.rocm.kernel import graphics
from motorpool_sdk.testing.machine import FakeCommand, FakeLibrary, PluginRaisedError
from tests.plugins.accelerators.amd.cards import Kernel, address, card, cards, unique
from tests.plugins.accelerators.conftest import StartChild
from tests.plugins.accelerators.harness.rooted import rooted

PACKAGE = "motorpool_amd"
FIRST, SECOND = address(0), address(1)
RECORDINGS = Path(__file__).parent / "recordings"


@pytest.fixture(name="kernel")
def make_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A machine without ROCm."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return Kernel(tmp_path)


def devices(plugin: Amd) -> dict[str, Device]:
    return {each.device_id: each for each in plugin.fingerprint() if isinstance(each, Device)}


def test_the_kernel_tells_everything_without_rocm(kernel: Kernel) -> None:
    """
    A card that amdgpu serves is found, measured and judged by its files alone.
    """
    kernel.serve(
        0,
        hip=0,
        product_name="AMD Instinct MI250X",
        mem_info_vram_used="27910144",
        gpu_busy_percent="37",
        hwmon__hwmon3__temp1_input="43000",
        hwmon__hwmon3__power1_average="101000000",
        ras__umc_err_count="ue: 2\nce: 7",
    )
    kernel.touch("/sys/module/amdgpu/version", "/opt/rocm/.info/version")
    (kernel.root / "sys/module/amdgpu/version").write_text("6.3.6\n")
    (kernel.root / "opt/rocm/.info/version").write_text("7.2.0-123\n")
    plugin = Amd(kernel.root)

    assert {
        FIRST: Device(
            device_id=FIRST,
            vendor="amd",
            framework="rocm",
            product="AMD Instinct MI250X",
            index=0,
            pci_address=FIRST,
            architecture="gfx90a",
            driver_version="6.3.6",
            runtime_version="7.2.0",
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=68702699520,
            numa_node=1,
        )
    } == devices(plugin)
    assert [
        Sample(
            device_id=FIRST,
            used_bytes=27910144,
            utilization_ratio=0.37,
            temperature_celsius=43.0,
            power_watts=101.0,
        )
    ] == plugin.sample([FIRST])
    health, reasons = plugin.health([FIRST])[FIRST]
    assert (Health.UNHEALTHY, "2 uncorrectable errors in umc since the driver was loaded") == (health, reasons[0])
    assert ["sysfs"] == [source.name for source in plugin.sources() if source.in_use]


def test_a_recorded_card_of_the_kernels(kernel: Kernel) -> None:
    """
    What the files of a Radeon PRO W7900 held.
    """
    kernel.serve(0, mem_info_vram_total="48301604864", mem_info_vram_used="27910144", gpu_busy_percent="0")
    plugin = Amd(kernel.root)

    assert 48301604864 == devices(plugin)[FIRST].memory_bytes
    assert [Sample(device_id=FIRST, used_bytes=27910144, utilization_ratio=0.0)] == plugin.sample([FIRST])


def test_a_processors_graphics_have_a_carve_out(kernel: Kernel) -> None:
    """
    Graphics that share a node with processors have a part of the host's memory; links of XGMI are the topology's.
    """
    kernel.serve(0, hip=0)
    kernel.serve(1, hip=1)
    kernel.serve(2, hip=2)
    kernel.compute(4, simd_count=4, cpu_cores_count=16, gfx_target_version=110501, location_id=0x2B00)
    kernel.link(2, 3, 11)
    kernel.link(2, 4, 2)
    found = devices(Amd(kernel.root))

    assert (MemoryKind.CARVE_OUT, "gfx1151") == (found[address(2)].memory_kind, found[address(2)].architecture)
    assert (Link(device_id=SECOND, kind="XGMI"),) == found[FIRST].links


@pytest.mark.parametrize(
    ("version", "name"), [(90402, "gfx942"), (90010, "gfx90a"), (110001, "gfx1101"), (110501, "gfx1151"), (0, "")]
)
def test_names_of_compilers(version: int, name: str) -> None:
    """
    KFD's number is two digits a part, and the last one is hexadecimal in the name.
    """
    assert name == graphics(version)


def test_cards_are_handed_over_by_unique_id(kernel: Kernel) -> None:
    """
    A process gets ids that no order changes; a container gets its own nodes and the groups that own them.
    """
    kernel.serve(0, hip=1)
    kernel.serve(1, hip=0)
    group = str((kernel.root / "dev/kfd").stat().st_gid)

    assert Exposure(
        env={"ROCR_VISIBLE_DEVICES": f"GPU-{unique(1):016x}"},
        container_env={"AMD_VISIBLE_DEVICES": f"0x{unique(1):016X}"},
        container_runtime="amd",
        device_nodes=("/dev/kfd", "/dev/dri/card2", "/dev/dri/renderD129"),
        groups=(group,),
        cdi_devices=("amd.com/gpu=1",),
    ) == Amd(kernel.root).expose([SECOND])


def test_cards_without_one_are_counted_as_hip_does(kernel: Kernel) -> None:
    """
    Where a card has no unique id, HIP's own count stands in, which is KFD's and not the addresses' order.
    """
    kernel.serve(0, hip=1, unique_id="0")
    kernel.serve(1, hip=0)

    exposure = Amd(kernel.root).expose([FIRST, SECOND])

    assert {"HIP_VISIBLE_DEVICES": "1,0"} == exposure.env
    assert {"AMD_VISIBLE_DEVICES": "0,1"} == exposure.container_env


def test_the_kernel_completes_what_the_library_tells(
    kernel: Kernel, rsmi: FakeLibrary, tmp_path: Path, child: StartChild
) -> None:
    """
    With the library, compilers' name, NUMA node and HIP's count are still the kernel's; a card that a fork's library
    lists beside ours is not ours.
    """
    kernel.serve(0, hip=1)
    kernel.add(address(1), pci_id="1d94:6210", pci_class="0b4000", driver="hycu")
    rsmi.show(cards(2))
    plugin = child(
        "rooted", rsmi.folder, module="rooted.plugin", env=rooted(tmp_path / "made", PACKAGE, "Amd", kernel.root)
    )

    assert {FIRST: ("gfx90a", 1)} == {
        key: (device.architecture, device.numa_node) for key, device in plugin.devices().items()
    }
    assert ("/dev/kfd", "/dev/dri/card1", "/dev/dri/renderD128") == plugin.expose([FIRST]).device_nodes


def test_cards_without_a_driver_are_listed_as_unhealthy(kernel: Kernel) -> None:
    """
    What only the PCI bus shows has a name, no memory, and everybody's reason; sound and bridges are no cards.
    """
    kernel.add(FIRST, pci_id="1002:74a1", pci_class="120000", driver="vfio-pci")
    kernel.add("0000:29:00.1", pci_id="1002:ab28", pci_class="040300", driver="snd_hda_intel")
    plugin = Amd(kernel.root)

    assert [FIRST] == list(devices(plugin))
    health, (reason,) = plugin.health([FIRST])[FIRST]
    assert Health.UNHEALTHY is health
    for said in ("kernel driver is vfio-pci", "librocm_smi64.so", "served by amdgpu", "amd-smi is neither on PATH"):
        assert said in reason


def test_rocm_smi_answers_where_nothing_else_does(tmp_path: Path, child: StartChild) -> None:
    """
    The command's cards have the same names, and all of a round comes from one run.
    """
    command = FakeCommand(tmp_path / "bin", "rocm-smi")
    command.prints(" ".join(ROCM_SMI), (RECORDINGS / "rocm-smi_mi100_rocm602.json").read_text())
    plugin = child(PACKAGE, command.folder)

    found = plugin.devices()
    (sample,) = plugin.sample(["0000:a3:00.0"])

    assert {"0000:83:00.0", "0000:a3:00.0", "0000:c3:00.0", "0000:e3:00.0"} == set(found)
    assert (6750208, 44.0) == (sample.used_bytes, sample.power_watts)
    assert (Health.HEALTHY, ()) == plugin.health(["0000:83:00.0"])["0000:83:00.0"]
    assert [" ".join(ROCM_SMI)] == command.asked


def test_a_driver_that_refuses_says_what_to_do(rsmi: FakeLibrary, child: StartChild) -> None:
    """
    Where no source answers, the error has every reason, and a way out.
    """
    rsmi.show(card(), "init 8\n")
    plugin = child(PACKAGE, rsmi.folder, env={"PATH": "/nowhere"})

    with pytest.raises(
        PluginRaisedError, match=r"rsmi_init: 8 \(the driver cannot be opened\).*groups that own /dev/kfd"
    ):
        plugin.fingerprint()
