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

    def unusable(self, card: Card) -> str:
        """Return why a card may not be used that is divided into parts nobody can use, or tells of."""
        if card.trouble:
            return card.trouble
        there = self._capabilities(card)
        if there and card.instance is None and not any(self._is_part(each, card) for each in self.listed()):
            return (
                f"it has nodes of instances ({', '.join(there)}) and {self.answering() or 'nobody'} tells of none; "
                "see that libcndev.so answers, or take the instances away with `cnmon`"
            )
        return ""

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand over these cards: a process counts as CNDEV does, a container has its own from 0.

        An instance goes to a container, by its node beside its card's.
        """
        chosen = self.chosen(device_ids)
        numbers = [self._number(card) for card in chosen]
        wanted = [each for number in numbers for each in (_NODE.format(number), _PEER_NODE.format(number))]
        if chosen and (instance := chosen[0].instance) is not None:
            nodes = (*(node for node in (_CONTROL_NODE, *wanted) if self._has(node)), instance.node)
            return Exposure(
                container_env={"MLU_VISIBLE_DEVICES": "0"},
                device_nodes=nodes,
                mounts={_COMMAND: _COMMAND} if self._has(_COMMAND) else {},
                groups=groups_of(nodes, self._root),
                container_only=f"Cambricon's driver gives {instance.kind} instance {instance.number} of "
                f"{chosen[0].pci_address} to what has {instance.node} and no other, as containers do",
            )
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

    def _capabilities(self, card: Card) -> list[str]:
        """Return the nodes of a card's instances: the only sign of them where CNDEV does not answer."""
        found = (self._root / "dev/cambricon-caps").glob(f"cap_dev{self._number(card)}_mi*")
        return sorted(f"/dev/cambricon-caps/{path.name}" for path in found)

    @staticmethod
    def _is_part(part: Card, card: Card) -> bool:
        return part.instance is not None and part.pci_address == card.pci_address

    def _has(self, path: str) -> bool:
        return (self._root / path.lstrip("/")).exists()


@hookimpl
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Introduce Cambricon."""
    register(Cambricon())
