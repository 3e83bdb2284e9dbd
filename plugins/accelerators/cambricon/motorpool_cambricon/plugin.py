"""Cambricon's MLUs as Motorpool sees them: found, measured, judged, and handed to processes and containers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from motorpool_cambricon import parsing
from motorpool_cambricon.cnmon import Cnmon
from motorpool_cambricon.driver import Cndev
from motorpool_cambricon.records import Card
from motorpool_sdk import AcceleratorPlugin, Device, Exposure, hookimpl
from motorpool_sdk.hardware import Bus, CardPlugin, groups_of

_CDI_KIND = "cambricon.com/mlu"
_NODE = "/dev/cambricon_dev{}"
_PEER_NODE = "/dev/cambricon_ipcm{}"
_CONTROL_NODE = "/dev/cambricon_ctl"
_COMMAND = "/usr/bin/cnmon"


class Cambricon(CardPlugin[Card]):
    """The cards of this machine, by PCI address."""

    vendor = parsing.VENDOR
    framework = parsing.FRAMEWORK

    def __init__(self, root: Path = Path("/")) -> None:
        bus = Bus(
            pci_vendor="cabc",
            classes=("12", "0b40", "03"),
            remedy="install Cambricon's driver, and see `cnmon` and `dmesg`",
            root=root,
        )
        super().__init__((Cndev(), Cnmon()), bus)
        self._root = root

    def described(self, cards: Sequence[Card]) -> Sequence[Device]:
        """Return each card's device."""
        return parsing.devices(cards, self._root, os.environ.get("NEUWARE_HOME", ""))

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand over these cards: a process counts as CNDEV does, a container has its own from 0."""
        chosen = self.chosen(device_ids)
        numbers = [self._number(card) for card in chosen]
        wanted = [each for number in numbers for each in (_NODE.format(number), _PEER_NODE.format(number))]
        nodes = tuple(node for node in (_CONTROL_NODE, *wanted) if chosen and self._has(node))
        return Exposure(
            env={"MLU_VISIBLE_DEVICES": ",".join(str(card.index) for card in chosen)},
            container_env={
                "CAMBRICON_VISIBLE_DEVICES": ",".join(map(str, numbers)),
                "MLU_VISIBLE_DEVICES": ",".join(map(str, range(len(chosen)))),
            },
            device_nodes=nodes,
            mounts={_COMMAND: _COMMAND} if nodes and self._has(_COMMAND) else {},
            groups=groups_of(nodes, self._root),
            cdi_devices=tuple(f"{_CDI_KIND}=mlu-{number}" for number in numbers),
        )

    def _number(self, card: Card) -> int:
        """Return the card's number in its nodes: its slot where there is a node of that number, else its index."""
        return card.slot if card.slot is not None and self._has(_NODE.format(card.slot)) else card.index

    def _has(self, path: str) -> bool:
        return (self._root / path.lstrip("/")).exists()


@hookimpl
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Introduce Cambricon."""
    register(Cambricon())
