"""AMD cards as Motorpool sees them: found, measured, judged, and handed to processes and containers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from motorpool_amd import commands
from motorpool_amd.driver import AMD
from motorpool_sdk import AcceleratorPlugin, Device, Exposure, hookimpl
from motorpool_sdk.hardware import Bus, CardPlugin, groups_of, rocm
from motorpool_sdk.hardware.rocm import Card

_CONTAINER_RUNTIME = "amd"
_CDI_KIND = "amd.com/gpu"
_COMPUTE_NODE = "/dev/kfd"


class Amd(CardPlugin[Card]):
    """The cards of this machine, by PCI address."""

    vendor = AMD.vendor
    framework = AMD.framework

    def __init__(self, root: Path = Path("/")) -> None:
        bus = Bus(
            pci_vendor=AMD.pci_vendor,
            classes=AMD.classes,
            drivers=AMD.drivers,
            remedy="load the kernel module amdgpu, and see `dmesg`",
            root=root,
        )
        sources = (rocm.RocmSmi(AMD, root), rocm.Kernel(AMD, root), commands.amd_smi(root), commands.rocm_smi(root))
        super().__init__(sources, bus)
        self._root = root

    def described(self, cards: Sequence[Card]) -> Sequence[Device]:
        """Return each card's device."""
        return rocm.devices(cards, AMD, self._rocm_version())

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand over these cards: by unique id, which no order changes; else as HIP counts them."""
        chosen = self.chosen(device_ids)
        unique = [f"GPU-{card.unique_id:016x}" for card in chosen if card.unique_id]
        counted = [card.hip_index if card.hip_index is not None else card.index for card in chosen]
        # Not both: HIP would count anew what ROCr left.
        if chosen and len(unique) == len(chosen) == len(set(unique)):
            env = {"ROCR_VISIBLE_DEVICES": ",".join(unique)}
            shown = ",".join(f"0x{card.unique_id:016X}" for card in chosen)
        else:
            env = {"HIP_VISIBLE_DEVICES": ",".join(map(str, counted))}
            shown = ",".join(str(card.index) for card in chosen)
        nodes = tuple(dict.fromkeys(node for card in chosen for node in rocm.nodes_of(card, self._root)))
        handed = (_COMPUTE_NODE, *nodes) if nodes else ()
        return Exposure(
            env=env,
            # In a container there are these cards and no others, in HIP's own order.
            container_env={"AMD_VISIBLE_DEVICES": shown or "void"},
            container_runtime=_CONTAINER_RUNTIME if chosen else "",
            device_nodes=handed,
            groups=groups_of(handed, self._root),
            cdi_devices=tuple(f"{_CDI_KIND}={card.index}" for card in chosen),
        )

    def _rocm_version(self) -> str:
        try:
            written = (self._root / "opt/rocm/.info/version").read_text(encoding="ascii")
        except (OSError, ValueError):
            return ""
        return written.strip().partition("-")[0]


@hookimpl
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Introduce AMD."""
    register(Amd())
