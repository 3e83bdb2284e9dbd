"""MetaX cards as Motorpool sees them: found, measured, judged, and handed to processes and containers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from motorpool_metax import parsing
from motorpool_metax.driver import Mxsml
from motorpool_metax.mx_smi import MxSmi
from motorpool_metax.records import Card
from motorpool_sdk import AcceleratorPlugin, Device, Exposure, hookimpl
from motorpool_sdk.hardware import Bus, CardPlugin, drm_nodes, groups_of

_CDI_KIND = "metax-tech.com/gpu"
# One of them, by the class of the cards; all cards of a machine share it.
_COMPUTE_NODES = ("/dev/mxcd", "/dev/mxnd", "/dev/mxgd")
_DRIVER_FILES = "/opt/mxdriver"


class Metax(CardPlugin[Card]):
    """The cards of this machine, by PCI address."""

    vendor = parsing.VENDOR
    framework = parsing.FRAMEWORK

    def __init__(self, root: Path = Path("/")) -> None:
        bus = Bus(
            pci_vendor="9999",
            classes=("03", "12", "0b40"),
            remedy="install MetaX's driver, and see `mx-smi` and `dmesg`",
            root=root,
        )
        super().__init__((Mxsml(), MxSmi()), bus)
        self._root = root

    def described(self, cards: Sequence[Card]) -> Sequence[Device]:
        """Return each card's device."""
        return parsing.devices(cards, self._root)

    def unusable(self, card: Card) -> str:
        """Return why a card may not be used whose slices nobody tells, and why no slice may."""
        if card.sgpu is None:
            return card.trouble
        return (
            f"sGPU {card.sgpu.number} of {card.pci_address} is handed out by MetaX's container runtime alone, in words"
            " that are not published: without it, a container would have all of the card; remove its sGPUs with"
            " `mx-smi sgpu` to use the card here"
        )

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand over these cards: only the nodes under /dev/dri keep containers apart."""
        chosen = self.chosen(device_ids)
        own = tuple(node for card in chosen for node in drm_nodes(card.pci_address, self._root))
        nodes = (*(node for node in _COMPUTE_NODES if self._has(node)), *own) if own else ()
        return Exposure(
            env={"CUDA_VISIBLE_DEVICES": ",".join(str(card.index) for card in chosen)},
            container_env={"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(len(chosen))))},
            device_nodes=nodes,
            mounts={_DRIVER_FILES: _DRIVER_FILES} if nodes and self._has(_DRIVER_FILES) else {},
            groups=groups_of(nodes, self._root),
            cdi_devices=tuple(f"{_CDI_KIND}={card.index}" for card in chosen),
        )

    def _has(self, path: str) -> bool:
        return (self._root / path.lstrip("/")).exists()


@hookimpl
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Introduce MetaX."""
    register(Metax())
