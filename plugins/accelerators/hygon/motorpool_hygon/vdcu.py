"""Virtual DCUs: the parts of a card that hy-smi makes, each of which stands in a file of its own.

A container has one by that file: Hygon's runtime in it looks for ``/etc/vdev/docker/vdevN.conf``, and holds to what it
says [D: Hygon's guide to vDCU, and its Kubernetes device plugin].
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from motorpool_hygon.hydmi import Hydmi
from motorpool_sdk import DeviceError, Sample
from motorpool_sdk.hardware import Source, Verdict, measurement, pci_address
from motorpool_sdk.hardware.rocm import Card

FOLDER = "etc/vdev"
IN_CONTAINER = "/etc/vdev/docker"
_MEBIBYTE = 2**20
_NAME = re.compile(r"vdev(\d{1,4})\.conf")
_LINE = re.compile(r"^\s*(\w+)\s*:\s*(.*?)\s*$", re.MULTILINE)
_MEMORY = re.compile(r"(\d{1,9}) MiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vdcu:
    """One virtual DCU: so many compute units of a card, and so much of its memory; ``file`` is the host's."""

    number: int
    pci_address: str
    units: int | None
    total_bytes: int | None
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dcu(Card):
    """A card, or with ``vdcu`` a part of one; ``trouble`` says why a card cannot be used though it is well."""

    vdcu: Vdcu | None = None
    trouble: str = ""


def vdcus(root: Path) -> tuple[list[Vdcu], list[str]]:
    """Return the virtual DCUs of this machine, and the files that do not say which card theirs is of."""
    found, unreadable = [], []
    for path in sorted((root / FOLDER).glob("vdev*.conf")):
        name = _NAME.fullmatch(path.name)
        if name is None:
            continue
        told = _told(path)
        address, memory = pci_address(told.get("PciBusId", "")), _MEMORY.fullmatch(told.get("mem", ""))
        if not address:
            unreadable.append(f"/{FOLDER}/{path.name}")
            continue
        units = told.get("cu_count", "")
        found.append(
            Vdcu(
                number=int(name[1]),
                pci_address=address,
                units=int(units) if units.isascii() and units.isdigit() else None,
                total_bytes=int(memory[1]) * _MEBIBYTE if memory else None,
                file=f"/{FOLDER}/{path.name}",
            )
        )
    return sorted(found, key=lambda vdcu: vdcu.number), unreadable


class Divided:
    """A source of cards, and of the virtual DCUs that they are divided into, whichever source tells the cards."""

    def __init__(self, whole: Source[Card], hydmi: Hydmi, root: Path) -> None:
        self._whole = whole
        self._hydmi = hydmi
        self._root = root

    @property
    def name(self) -> str:
        """The source's of the cards."""
        return self._whole.name

    @property
    def path(self) -> str:
        """The source's of the cards."""
        return self._whole.path

    def cards(self) -> Sequence[Dcu | DeviceError]:
        """Return every card, and after it its parts."""
        parts, unreadable = vdcus(self._root)
        result: list[Dcu | DeviceError] = []
        for each in self._whole.cards():
            if isinstance(each, DeviceError):
                result.append(each)
                continue
            mine = [part for part in parts if part.pci_address == each.pci_address]
            trouble = (
                f"{', '.join(unreadable)} cannot be read, and may divide it into virtual DCUs; let the agent's user "
                "read it, or remove it with `hy-smi virtual -destroy-vdevice`"
                if unreadable and not mine
                else ""
            )
            card = Dcu(**_values(each), trouble=trouble)
            result += [card, *(Dcu(**_values(each), vdcu=part) for part in mine)]
        return result

    def measure(self, card: Dcu) -> Sample:
        """Return a card's figures; a part's are libhydmi's alone, and unknown where that does not answer."""
        if card.vdcu is None:
            return self._whole.measure(card)
        used_bytes, percent = self._hydmi.usage(card.vdcu.number)
        return measurement(used_bytes=used_bytes, total_bytes=card.vdcu.total_bytes, percent=percent)

    def judge(self, card: Dcu) -> Verdict:
        """Return how a card is; a part is as well as its card."""
        return self._whole.judge(card)


def _told(path: Path) -> Mapping[str, str]:
    try:
        return dict(_LINE.findall(path.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return {}


def _values(card: Card) -> dict[str, Any]:
    return {field.name: getattr(card, field.name) for field in fields(card)}
