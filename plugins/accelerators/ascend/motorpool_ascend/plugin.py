"""Ascend chips as Motorpool sees them: found, measured, judged, and handed to processes and containers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from motorpool_ascend import parsing
from motorpool_ascend.driver import Dcmi
from motorpool_ascend.npu_smi import NpuSmi
from motorpool_ascend.records import Chip
from motorpool_sdk import AcceleratorPlugin, Device, Exposure, hookimpl
from motorpool_sdk.hardware import Bus, CardPlugin

_CONTAINER_RUNTIME = "ascend"
_CDI_KIND = "huawei.com/npu"
_MANAGER = "/dev/davinci_manager"
# In a machine that runs Ascend's containers under that name.
_MANAGER_OF_CONTAINERS = "/dev/davinci_manager_docker"
_NODES = ("/dev/devmm_svm", "/dev/hisi_hdc")
# Not on every generation: A5 lacks the first, and has the next two.
_OPTIONAL_NODES = ("/dev/dvpp_cmdlist", "/dev/uburma", "/dev/ummu")
_MOUNTS = (
    "/usr/local/Ascend/driver/lib64",
    "/usr/local/Ascend/driver/include",
    "/usr/local/Ascend/driver/topo",
    "/usr/local/Ascend/driver/version.info",
    "/usr/local/dcmi",
    "/usr/local/bin/npu-smi",
    "/usr/local/sbin/npu-smi",
    "/etc/ascend_install.info",
    "/etc/hccn.conf",
    "/etc/hccl_rootinfo.json",
    "/var/queue_schedule",
)


class Ascend(CardPlugin[Chip]):
    """The chips of this machine, by PCI address."""

    vendor = parsing.VENDOR
    framework = parsing.FRAMEWORK

    def __init__(self, root: Path = Path("/")) -> None:
        bus = Bus(
            pci_vendor="19e5",
            classes=("12",),
            products={
                "d100": "Ascend 310",
                "d500": "Ascend 310P",
                **dict.fromkeys(("d801", "d802", "d803"), "Ascend 910"),
            },
            remedy="install Ascend's driver, and see `npu-smi info` and `dmesg`",
            root=root,
        )
        super().__init__((Dcmi(root), NpuSmi(root)), bus)
        self._root = root

    def described(self, cards: Sequence[Chip]) -> Sequence[Device]:
        """Return each chip's device."""
        return parsing.devices(cards, parsing.cann_version(self._root, os.environ.get("ASCEND_TOOLKIT_HOME", "")))

    def unusable(self, card: Chip) -> str:
        """Return why a chip may not be used that is cut into virtual NPUs of which nobody tells."""
        return card.trouble

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand over these chips: a process counts as CANN does, a container has its own from 0.

        A virtual NPU goes to a container: the driver makes it a chip of that container.
        """
        chosen = self.chosen(device_ids)
        if chosen and chosen[0].virtual is not None:
            return self._virtual(chosen[0].virtual.vdev_id)
        logical = sorted(chip.logic_id for chip in chosen if chip.logic_id is not None)
        physical = sorted(chip.phy_id for chip in chosen if chip.phy_id is not None)
        if len(logical) < len(chosen) or len(physical) < len(chosen):
            raise LookupError(
                f"{', '.join(device_ids)} cannot be handed over: the driver's library does not answer, and `npu-smi "
                "info -m` does not tell their logic or physical ids"
            )
        manager, renamed = self._manager()
        shown = ",".join(map(str, physical)) or "void"
        return Exposure(
            env={"ASCEND_RT_VISIBLE_DEVICES": ",".join(map(str, logical))},
            container_env={
                "ASCEND_VISIBLE_DEVICES": shown,
                "ASCEND_RT_VISIBLE_DEVICES": ",".join(map(str, range(len(chosen)))),
            },
            container_runtime=_CONTAINER_RUNTIME if chosen else "",
            device_nodes=(*(f"/dev/davinci{number}" for number in physical), manager, *self._common_nodes())
            if chosen
            else (),
            renamed_nodes=renamed if chosen else {},
            mounts=self._mounts() if chosen else {},
            cdi_devices=tuple(f"{_CDI_KIND}={number}" for number in physical),
        )

    def _virtual(self, number: int) -> Exposure:
        """Return how a container gets a virtual NPU, as Ascend's runtime hands one over that was made before."""
        manager, renamed = self._manager()
        node = f"/dev/vdavinci{number}"
        return Exposure(
            container_env={
                "ASCEND_VISIBLE_DEVICES": str(number),
                "ASCEND_RUNTIME_OPTIONS": "VIRTUAL",
                "ASCEND_RT_VISIBLE_DEVICES": "0",
            },
            container_runtime=_CONTAINER_RUNTIME,
            device_nodes=(node, manager, *self._common_nodes()),
            renamed_nodes={node: f"/dev/davinci{number}", **renamed},
            mounts=self._mounts(),
            container_only=f"Ascend's driver shows virtual NPU {number} to containers only",
        )

    def _manager(self) -> tuple[str, dict[str, str]]:
        """Return the manager's node, and its name in a container where that is another."""
        if self._has(_MANAGER_OF_CONTAINERS) and not self._has(_MANAGER):
            return _MANAGER_OF_CONTAINERS, {_MANAGER_OF_CONTAINERS: _MANAGER}
        return _MANAGER, {}

    def _common_nodes(self) -> tuple[str, ...]:
        return (*_NODES, *(node for node in _OPTIONAL_NODES if self._has(node)))

    def _mounts(self) -> dict[str, str]:
        return {path: path for path in _MOUNTS if self._has(path)}

    def _has(self, path: str) -> bool:
        return (self._root / path.lstrip("/")).exists()


@hookimpl
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Introduce Ascend."""
    register(Ascend())
