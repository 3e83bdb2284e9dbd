"""Hygon's DCUs as Motorpool sees them: found, measured, judged, and handed to processes and containers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from motorpool_hygon.driver import HYGON
from motorpool_hygon.hy_smi import HySmi
from motorpool_hygon.hydmi import Hydmi
from motorpool_hygon.vdcu import IN_CONTAINER, Dcu, Divided, Vdcu
from motorpool_sdk import AcceleratorPlugin, Device, Exposure, MemoryKind, hookimpl
from motorpool_sdk.hardware import Bus, CardPlugin, groups_of, rocm, size

_CDI_KIND = "hygon.com/dcu"
_COMPUTE_NODES = ("/dev/kfd", "/dev/mkfd")
_DRIVER_FILES = "/opt/hyhal"


class Hygon(CardPlugin[Dcu]):
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
        whole, hydmi = (rocm.RocmSmi(HYGON, root), rocm.Kernel(HYGON, root), HySmi(root)), Hydmi()
        super().__init__([Divided(source, hydmi, root) for source in whole], bus)
        self._root = root

    def described(self, cards: Sequence[Dcu]) -> Sequence[Device]:
        """Return each card's device; a virtual DCU's is its card's but for what is its own."""
        whole = [card for card in cards if card.vdcu is None]
        devices = dict(
            zip((card.index for card in whole), rocm.devices(whole, HYGON, self._dtk_version()), strict=True)
        )
        return [devices[card.index] if card.vdcu is None else _part(devices[card.index], card.vdcu) for card in cards]

    def unusable(self, card: Dcu) -> str:
        """Return why a card may not be used that may be divided, and nobody tells."""
        return card.trouble

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand over these cards: HIP counts DCUs only, in the order of KFD.

        A virtual DCU goes to a container: its card's nodes, and the file that holds Hygon's runtime to its part.
        """
        chosen = self.chosen(device_ids)
        counted = [card.index if card.hip_index is None else card.hip_index for card in chosen]
        own = tuple(dict.fromkeys(node for card in chosen for node in rocm.nodes_of(card, self._root)))
        nodes = (*(node for node in _COMPUTE_NODES if self._has(node)), *own) if own else ()
        if chosen and (vdcu := chosen[0].vdcu) is not None:
            return Exposure(
                container_env={"DCU_VISIBLE_DEVICES": "void"},  # else the toolkit would hand over whole cards
                device_nodes=nodes,
                mounts={
                    **({_DRIVER_FILES: _DRIVER_FILES} if self._has(_DRIVER_FILES) else {}),
                    vdcu.file: f"{IN_CONTAINER}/vdev{vdcu.number}.conf",
                },
                groups=groups_of(nodes, self._root),
                container_only=f"Hygon's runtime holds to virtual DCU {vdcu.number} where {IN_CONTAINER} has its file, "
                "as in a container",
            )
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


def _part(card: Device, vdcu: Vdcu) -> Device:
    units = f", {vdcu.units} units" if vdcu.units is not None else ""
    memory_bytes = size(vdcu.total_bytes)
    return replace(
        card,
        device_id=f"{card.device_id}-vdcu{vdcu.number}",
        product=f"{card.product or 'DCU'} vDCU{units}",
        index=None,
        memory_kind=None if memory_bytes is None else MemoryKind.DEDICATED,
        memory_bytes=memory_bytes,
        partition_of=card.device_id,
        links=(),
    )


@hookimpl
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Introduce Hygon."""
    register(Hygon())
