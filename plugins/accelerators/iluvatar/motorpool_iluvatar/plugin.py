"""Iluvatar cards as Motorpool sees them: found, measured, judged, and handed to processes and containers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from motorpool_iluvatar import parsing
from motorpool_iluvatar.driver import Ixml
from motorpool_iluvatar.ixsmi import Ixsmi
from motorpool_iluvatar.records import Card
from motorpool_sdk import AcceleratorPlugin, Device, Exposure, hookimpl
from motorpool_sdk.hardware import Bus, CardPlugin, groups_of

_CONTAINER_RUNTIME = "iluvatar"
_CDI_KIND = "iluvatar.com/gpu"
_CONTROL_NODE = "/dev/itrctl"
_SDK_FILES = "/usr/local/corex"


class Iluvatar(CardPlugin[Card]):
    """The cards of this machine, by PCI address."""

    vendor = parsing.VENDOR
    framework = parsing.FRAMEWORK

    def __init__(self, root: Path = Path("/")) -> None:
        bus = Bus(
            pci_vendor="1e3e",
            classes=("03", "12", "0b40"),
            remedy="install Iluvatar's driver, and see `ixsmi` and `dmesg`",
            root=root,
        )
        super().__init__((Ixml(), Ixsmi()), bus)
        self._root = root

    def described(self, cards: Sequence[Card]) -> Sequence[Device]:
        """Return each card's device."""
        return parsing.devices(cards, self._root)

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand over these cards: by UUID, which no order changes."""
        chosen = self.chosen(device_ids)
        listed = ",".join(card.uuid for card in chosen)
        own = tuple(f"/dev/iluvatar{card.minor}" for card in chosen if card.minor is not None)
        # One without its node would be missing in the container, and nobody told.
        nodes = (*own, *([_CONTROL_NODE] if self._has(_CONTROL_NODE) else [])) if len(own) == len(chosen) else ()
        return Exposure(
            env={"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": listed},
            # In a container there are these cards and no others.
            container_env={"IX_VISIBLE_DEVICES": listed or "void"},
            container_runtime=_CONTAINER_RUNTIME if chosen else "",
            device_nodes=nodes if chosen else (),
            mounts={_SDK_FILES: _SDK_FILES} if chosen and nodes and self._has(_SDK_FILES) else {},
            groups=groups_of(nodes if chosen else (), self._root),
            cdi_devices=tuple(f"{_CDI_KIND}={card.uuid}" for card in chosen),
        )

    def _has(self, path: str) -> bool:
        return (self._root / path.lstrip("/")).exists()


@hookimpl
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Introduce Iluvatar."""
    register(Iluvatar())
