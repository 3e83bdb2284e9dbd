"""Every vendor's cards in a real container: its variables, device nodes and mounts, read back from inside.

A machine's nodes and files stand below a folder of the test's; the nodes are of the kernel's memory devices.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from motorpool_agent.reconcile.assignment import DeviceClaim
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_sdk.accelerator import Device, Exposure
from motorpool_sdk.testing.machine import FakeBus, PluginChild
from motorpool_sdk.testing.vendor import MadeVendor, ShownLibrary
from tests.agent.runtime.fakes import ServerBackends, assignment, desired, logged, until, until_state
from tests.docker_engine import DockerEngine
from tests.plugins.accelerators.amd import cards as amd
from tests.plugins.accelerators.ascend import board as ascend
from tests.plugins.accelerators.cambricon import cards as cambricon
from tests.plugins.accelerators.harness.rooted import rooted
from tests.plugins.accelerators.hygon import cards as hygon
from tests.plugins.accelerators.iluvatar import cards as iluvatar
from tests.plugins.accelerators.metax import cards as metax
from tests.plugins.accelerators.mthreads import cards as mthreads
from tests.plugins.accelerators.nvidia import machine as nvidia

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="wants to make device nodes"),
]

FULL = (1, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """A machine of two cards, and what a container of the second one is to see of it.

    ``cards`` are the nodes of each card, ``shared`` those of the driver, ``files`` what its installer left; ``pci`` is
    how the cards stand on the bus, where the plugin reads their nodes there. Where the second card is divided by these
    ``lines``, the container is of its ``part``; ``renamed`` are nodes and files with another path in it, and
    ``written`` files that have to say something.
    """

    made: MadeVendor
    cards: tuple[tuple[str, ...], tuple[str, ...]]
    shared: tuple[str, ...]
    files: tuple[str, ...]
    env: Mapping[str, str]
    pci: tuple[str, str] = ("", "")
    lines: tuple[str, ...] = ()
    part: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)


def drm(number: int) -> tuple[str, str]:
    return f"/dev/dri/card{number + 1}", f"/dev/dri/renderD{128 + number}"


MACHINES = (
    HandedOver(
        made=ascend.MADE,
        cards=(("/dev/davinci4",), ("/dev/davinci5",)),
        shared=("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"),
        files=("/usr/local/bin/npu-smi", "/etc/hccn.conf"),
        env={"ASCEND_VISIBLE_DEVICES": "5", "ASCEND_RT_VISIBLE_DEVICES": "0"},
    ),
    HandedOver(
        made=amd.MADE,
        cards=(drm(0), drm(1)),
        shared=("/dev/kfd",),
        files=(),
        env={"AMD_VISIBLE_DEVICES": f"0x{amd.unique(1):016X}"},
        pci=("1002:740c", "amdgpu"),
    ),
    HandedOver(
        made=hygon.MADE,
        cards=(drm(0), drm(1)),
        shared=("/dev/kfd", "/dev/mkfd"),
        files=("/opt/hyhal/version",),
        env={"DCU_VISIBLE_DEVICES": "1"},
        pci=("1d94:6210", "hycu"),
    ),
    HandedOver(
        made=metax.MADE,
        cards=(drm(0), drm(1)),
        shared=("/dev/mxcd",),
        files=("/opt/mxdriver/bin/mx-smi",),
        env={"CUDA_VISIBLE_DEVICES": "0"},
        pci=("9999:4000", "metax"),
    ),
    HandedOver(
        made=mthreads.MADE,
        cards=(("/dev/mtgpu.0", *drm(0)), ("/dev/mtgpu.1", *drm(1))),
        shared=(),
        files=("/usr/bin/mthreads-gmi",),
        env={"MTHREADS_VISIBLE_DEVICES": "1", "MUSA_VISIBLE_DEVICES": "0"},
    ),
    HandedOver(
        made=iluvatar.MADE,
        cards=(("/dev/iluvatar4",), ("/dev/iluvatar5",)),
        shared=("/dev/itrctl",),
        files=("/usr/local/corex/version",),
        env={"IX_VISIBLE_DEVICES": iluvatar.uuid(1)},
    ),
    HandedOver(
        made=cambricon.MADE,
        cards=(
            ("/dev/cambricon_dev2", "/dev/cambricon_ipcm2"),
            ("/dev/cambricon_dev3", "/dev/cambricon_ipcm3"),
        ),
        shared=("/dev/cambricon_ctl",),
        files=("/usr/bin/cnmon",),
        env={"CAMBRICON_VISIBLE_DEVICES": "3", "MLU_VISIBLE_DEVICES": "0"},
    ),
)


DIVIDED = (
    HandedOver(
        made=ascend.MADE,
        cards=(("/dev/davinci4", "/dev/davinci5", "/dev/vdavinci181"), ("/dev/vdavinci180",)),
        shared=("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"),
        files=("/usr/local/bin/npu-smi",),
        env={"ASCEND_VISIBLE_DEVICES": "180", "ASCEND_RT_VISIBLE_DEVICES": "0"},
        lines=("vdev 180 vir10_3c_32g 32768 0", "vdev 181 vir05_1c_16g 16384 0"),
        part=f"{ascend.address(1)}-vnpu180",
        renamed={"/dev/vdavinci180": "/dev/davinci180"},
    ),
    HandedOver(
        made=cambricon.MADE,
        cards=(
            ("/dev/cambricon_dev2", "/dev/cambricon_ipcm2", "/dev/cambricon-caps/cap_dev3_mi3"),
            ("/dev/cambricon_dev3", "/dev/cambricon_ipcm3", "/dev/cambricon-caps/cap_dev3_mi1"),
        ),
        shared=("/dev/cambricon_ctl",),
        files=("/usr/bin/cnmon",),
        env={"MLU_VISIBLE_DEVICES": "0"},
        lines=(
            "mim B0 2m.16gb 1 16384 700 41 /dev/cambricon-caps/cap_dev3_mi1",
            "mim C0 4m.32gb 3 32768 0 0 /dev/cambricon-caps/cap_dev3_mi3",
        ),
        part="MLU-B0",
    ),
    HandedOver(
        made=hygon.MADE,
        cards=(drm(0), drm(1)),
        shared=("/dev/kfd", "/dev/mkfd"),
        files=("/opt/hyhal/version", "/etc/vdev/vdev0.conf"),
        env={"DCU_VISIBLE_DEVICES": "void"},
        pci=("1d94:6210", "hycu"),
        part=f"{hygon.address(1)}-vdcu0",
        renamed={"/etc/vdev/vdev0.conf": "/etc/vdev/docker/vdev0.conf"},
        written={"/etc/vdev/vdev0.conf": f"PciBusId: {hygon.address(1)}\nmem: 16384 MiB\ncu_count: 16\n"},
    ),
)


class VendorBackends(ServerBackends):
    """The tests' backend on one vendor's cards, whose plugin says how they are handed over."""

    plugin: PluginChild
    root: Path

    def devices(self) -> Mapping[str, Device]:
        return self.plugin.devices()

    async def expose(self, vendor: str, device_ids: Sequence[str]) -> Exposure:
        """What the plugin says, of the machine below ``root``."""
        told = self.plugin.expose(device_ids)
        inside = {self._below(node): told.renamed_nodes.get(node, node) for node in told.device_nodes}
        return replace(
            told,
            device_nodes=tuple(inside),
            renamed_nodes=inside,
            mounts={self._below(path): target for path, target in told.mounts.items()},
        )

    def _below(self, path: str) -> str:
        return str(self.root / path.lstrip("/"))


@pytest.fixture(name="backends")
def make_backends() -> Iterator[VendorBackends]:
    """The tests' backend; the plugin's process ends with the test."""
    backends = VendorBackends()
    yield backends
    if hasattr(backends, "plugin"):  # a test that is skipped has none
        backends.plugin.end()


def plug_in(machine: HandedOver, folder: Path, library: ShownLibrary) -> PluginChild:
    """Return the vendor's plugin on a machine below ``folder``."""
    made = machine.made
    library.show(made.card(0) + made.card(1, *machine.lines))
    if made is nvidia.MADE:
        return PluginChild(made.package, library.folder)
    bus = FakeBus(folder)
    for number, nodes in enumerate(machine.cards):
        pci_id, driver = machine.pci
        if pci_id:
            bus.add(made.device_id(number), pci_id=pci_id, pci_class="120000", driver=driver)
            for node in nodes:
                (folder / "sys/bus/pci/devices" / made.device_id(number) / "drm" / Path(node).name).mkdir(parents=True)
        for node in (*nodes, *(machine.shared if number == 0 else ())):
            path = folder / node.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(*FULL))
    bus.touch(*machine.files)
    for file, text in machine.written.items():
        (folder / file.lstrip("/")).write_text(text)
    name = made.name.capitalize()
    return PluginChild(
        "rooted", library.folder, module="rooted.plugin", env=rooted(folder / "made", made.package, name, folder)
    )


async def seen_inside(
    supervisor: Supervisor, tmp_path: Path, data_dir: Path, image: str, machine: HandedOver
) -> list[str]:
    """Run an engine on the second card, and return what it says of its variables and of every path of the machine."""
    models = tmp_path / "models"  # its folder is in the container, too
    models.mkdir()
    every = (*machine.cards[0], *machine.cards[1], *machine.shared, *machine.files, "/dev/null")
    paths = [machine.renamed.get(path, path) for path in every]
    wish = assignment(models, image=image, environment="", devices=",".join(paths))
    claim = DeviceClaim(device_id=machine.part or machine.made.device_id(1), memory_bytes=1 << 20)

    supervisor.apply(desired(replace(wish, devices=(claim,))))
    await until_state(supervisor, State.RUNNING)
    log = data_dir / "instances" / "a1" / "logs" / "000001.log"
    await until(lambda: any("/dev/null " in line for line in logged(log)), "what the engine saw")
    return logged(log)


@pytest.mark.parametrize(
    "machine", [*MACHINES, *DIVIDED], ids=lambda machine: f"{machine.made.name}{'-part' * bool(machine.part)}"
)
async def test_a_container_sees_its_card_and_no_other(
    supervisor: Supervisor,
    backends: VendorBackends,
    tmp_path: Path,
    data_dir: Path,
    image: str,
    machine: HandedOver,
) -> None:
    """
    Where the vendor's runtime is not installed: its own and the driver's nodes at their paths, the driver's files to be
    read, its variables, and nothing of the other card, nor of another part of its own.
    """
    made = machine.made
    library = ShownLibrary(made, tmp_path / "library", made.compile(tmp_path / "compiled"))
    backends.root = tmp_path / "machine"
    backends.plugin = plug_in(machine, backends.root, library)

    lines = await seen_inside(supervisor, tmp_path, data_dir, image, machine)

    for node in (*machine.cards[1], *machine.shared):
        assert f"{machine.renamed.get(node, node)} 1:7 gives 00000000" in lines, lines
    for path in machine.files:
        assert f"{machine.renamed.get(path, path)} Read-only file system" in lines, lines
    for node in machine.cards[0]:
        assert f"{node} No such file or directory" in lines, lines
    told = dict(line.partition("=")[::2] for line in lines if "_VISIBLE_DEVICES=" in line)
    assert machine.env == told


async def test_nvidias_runtime_is_given_the_card(
    supervisor: Supervisor,
    backends: VendorBackends,
    tmp_path: Path,
    data_dir: Path,
    image: str,
    docker: DockerEngine,
) -> None:
    """
    NVIDIA's container runtime is what puts nodes and libraries in: it is chosen, and told the card by UUID.
    """
    if "nvidia" not in docker.client.info()["Runtimes"]:
        pytest.skip("this Docker Engine has no runtime nvidia; `dockerd --add-runtime nvidia=/usr/sbin/runc` will do")
    machine = HandedOver(made=nvidia.MADE, cards=((), ()), shared=(), files=(), env={})
    library = ShownLibrary(machine.made, tmp_path / "library", machine.made.compile(tmp_path / "compiled"))
    backends.root = tmp_path / "machine"
    backends.plugin = plug_in(machine, backends.root, library)

    lines = await seen_inside(supervisor, tmp_path, data_dir, image, machine)

    (container,) = docker.containers(data_dir)
    assert "nvidia" == container["HostConfig"]["Runtime"]
    for line in (
        f"NVIDIA_VISIBLE_DEVICES={nvidia.uuid(1)}",
        f"CUDA_VISIBLE_DEVICES={nvidia.uuid(1)}",
        "CUDA_DEVICE_ORDER=PCI_BUS_ID",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ):
        assert line in lines, lines
