"""Hygon's DCUs as Motorpool sees them: found, measured, judged, and handed to processes and containers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from motorpool_hygon.driver import HYGON
from motorpool_hygon.hy_smi import HySmi
from motorpool_sdk import AcceleratorPlugin, Device, Exposure, hookimpl
from motorpool_sdk.hardware import Bus, CardPlugin, groups_of, rocm
from motorpool_sdk.hardware.rocm import Card

_CDI_KIND = "hygon.com/dcu"
_COMPUTE_NODES = ("/dev/kfd", "/dev/mkfd")
_DRIVER_FILES = "/opt/hyhal"


class Hygon(CardPlugin[Card]):
    """The cards of this machine, by PCI address."""

    vendor = HYGON.vendor
    framework = HYGON.framework

    def __init__(self, root: Path = Path("/")) -> None:
        bus = Bus(
            pci_vendor=HYGON.pci_vendor,
            classes=HYGON.classes,
            drivers=HYGON.drivers,
            products={"6210": "K100_AI"},
            remedy="load the kernel module hycu (hydcu before release 6.3), and see `dmesg`",
            root=root,
        )
        super().__init__((rocm.RocmSmi(HYGON, root), rocm.Kernel(HYGON, root), HySmi(root)), bus)
        self._root = root

    def described(self, cards: Sequence[Card]) -> Sequence[Device]:
        """Return each card's device."""
        return rocm.devices(cards, HYGON, self._dtk_version())

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand over these cards: HIP counts DCUs only, in the order of KFD."""
        chosen = self.chosen(device_ids)
        counted = [card.index if card.hip_index is None else card.hip_index for card in chosen]
        own = tuple(dict.fromkeys(node for card in chosen for node in rocm.nodes_of(card, self._root)))
        nodes = (*(node for node in _COMPUTE_NODES if self._has(node)), *own) if own else ()
        return Exposure(
            env={"HIP_VISIBLE_DEVICES": ",".join(map(str, counted))},
            # In a container there are these cards and no others, in HIP's own order.
            container_env={"DCU_VISIBLE_DEVICES": ",".join(str(card.index) for card in chosen) or "void"},
            device_nodes=nodes,
            mounts={_DRIVER_FILES: _DRIVER_FILES} if nodes and self._has(_DRIVER_FILES) else {},
            groups=groups_of(nodes, self._root),
            cdi_devices=tuple(f"{_CDI_KIND}={card.index}" for card in chosen),
        )

    def _has(self, path: str) -> bool:
        return (self._root / path.lstrip("/")).exists()

    def _dtk_version(self) -> str:
        home = os.environ.get("ROCM_PATH", "")
        for folder in ([Path(home)] if home else []) + [self._root / "opt/dtk"]:
            try:
                return (folder / ".info/version").read_text(encoding="ascii").strip().partition("-")[0]
            except (OSError, ValueError):
                continue
        return ""


@hookimpl
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Introduce Hygon."""
    register(Hygon())
