"""Moore Threads cards as Motorpool sees them: found, measured, judged, and handed to processes and containers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from motorpool_mthreads import parsing
from motorpool_mthreads.driver import Mtml
from motorpool_mthreads.gmi import Gmi
from motorpool_mthreads.records import Card
from motorpool_sdk import AcceleratorPlugin, Device, Exposure, hookimpl
from motorpool_sdk.hardware import Bus, CardPlugin, groups_of

_CONTAINER_RUNTIME = "mthreads"
_CDI_KIND = "mthreads.com/gpu"
_COMMAND = "/usr/bin/mthreads-gmi"


class Mthreads(CardPlugin[Card]):
    """The cards of this machine, by PCI address."""

    vendor = parsing.VENDOR
    framework = parsing.FRAMEWORK

    def __init__(self, root: Path = Path("/")) -> None:
        bus = Bus(
            pci_vendor="1ed5",
            classes=("03", "12", "0b40"),
            drivers=("mtgpu",),
            remedy="install Moore Threads' driver, and see `mthreads-gmi` and `dmesg`",
            root=root,
        )
        super().__init__((Mtml(), Gmi()), bus)
        self._root = root

    def described(self, cards: Sequence[Card]) -> Sequence[Device]:
        """Return each card's device."""
        return parsing.devices(cards, self._root)

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand over these cards: by their index, and in a container from 0."""
        chosen = self.chosen(device_ids)
        counted = ",".join(str(card.index) for card in chosen)
        nodes = tuple(node for card in chosen for node in card.nodes)
        return Exposure(
            env={"MUSA_VISIBLE_DEVICES": counted},
            container_env={
                "MTHREADS_VISIBLE_DEVICES": counted or "none",
                "MUSA_VISIBLE_DEVICES": ",".join(map(str, range(len(chosen)))),
            },
            container_runtime=_CONTAINER_RUNTIME if chosen else "",
            device_nodes=nodes,
            mounts={_COMMAND: _COMMAND} if nodes and (self._root / _COMMAND.lstrip("/")).exists() else {},
            groups=groups_of(nodes, self._root),
            cdi_devices=tuple(f"{_CDI_KIND}={card.index}" for card in chosen),
        )


@hookimpl
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Introduce Moore Threads."""
    register(Mthreads())
