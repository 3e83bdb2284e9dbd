"""hy-smi: JSON in, records out. DCU became HCU in its keys, and bytes became mebibytes; old DTKs call it rocm-smi."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from motorpool_hygon.driver import HYGON
from motorpool_sdk import DeviceError, Health, Sample
from motorpool_sdk.hardware import CallError, Command, Unavailable, Verdict, pci_address, rocm
from motorpool_sdk.hardware.rocm import Card, Reading

Found = tuple[Card, Reading]
ARGUMENTS = (
    *("--showid", "--showbus", "--showmeminfo", "vram", "--showpower", "--showuse", "--showtemp"),
    *("--showproductname", "--json"),
)
_REMEDY = "Install Hygon's driver, and see `dmesg`"
_NUMBER = re.compile(r"-?\d{1,18}(?:\.\d{1,6})?")
_CARD = re.compile(r"card\d{1,4}")
_MEBIBYTE = 2**20


def cards(printed: str) -> list[Found]:
    """Return the cards of `hy-smi … --json`, in their order: in some releases the first is card1."""
    start = printed.find("{")
    try:
        table = json.JSONDecoder().raw_decode(printed[start:])[0] if start >= 0 else {}
    except (ValueError, RecursionError):
        return []
    rows = table.items() if isinstance(table, dict) else ()
    numbered = [(int(name[4:]), row) for name, row in rows if _CARD.fullmatch(name) and isinstance(row, dict)]
    numbered.sort(key=lambda each: each[0])
    return [_row(index, row) for index, (_, row) in enumerate(numbered)]


class HySmi:
    """A source of cards: hy-smi, a program in Python that takes one to three seconds."""

    def __init__(self, root: Path) -> None:
        folders = ["/opt/hyhal/bin", "/usr/local/hyhal/bin", "/opt/dtk/bin"]
        self._command = Command(["hy-smi", "rocm-smi"], folders=folders, remedy=_REMEDY)
        self._root = root

    @property
    def name(self) -> str:
        """The command."""
        return self._command.name

    @property
    def path(self) -> str:
        """Where it stands."""
        return self._command.path

    def cards(self) -> Sequence[Card | DeviceError]:
        """Return every card that it prints."""
        nodes = rocm.kfd_nodes(self._root)
        return [
            rocm.completed(card, nodes, HYGON, self._root)
            if card.pci_address
            else DeviceError(device_id=f"index {card.index}", message="`hy-smi` prints no PCI address for it")
            for card, _ in self._found()
        ]

    def measure(self, card: Card) -> Sample:
        """Return a card's figures."""
        for found, reading in self._found():
            if found.index == card.index:
                return rocm.sample(reading)
        raise CallError("hy-smi", None, f"prints no card {card.index}")

    def judge(self, card: Card) -> Verdict:
        """Return healthy for a card with figures: it was not asked for its errors."""
        self.measure(card)
        return Health.HEALTHY, ()

    def _found(self) -> list[Found]:
        printed = self._command.output(*ARGUMENTS)
        found = cards(printed)
        if not found:
            said = " ".join(printed.split())[:200] or "nothing"
            raise Unavailable(f"`hy-smi` printed no cards in JSON, but {said!r}. {_REMEDY}")
        return found


def _row(index: int, row: Mapping[str, Any]) -> Found:
    total = _size(row, "Total Memory")
    edge, junction = (_number(row.get(f"Temperature (Sensor {spot}) (C)")) for spot in ("edge", "junction"))
    # The address, then " --> SN: … --> OAM ID: …".
    address = str(row.get("PCI Bus", "")).split(maxsplit=1)
    card = Card(
        index=index,
        pci_address=pci_address(address[0]) if address else "",
        name=rocm.product(str(row.get("Card Series", row.get("Card series", "")))),
        total_bytes=total,
    )
    reading = Reading(
        used_bytes=_size(row, "Total Used Memory"),
        total_bytes=total,
        utilization_percent=_first(row, "HCU use (%)", "DCU use (%)"),
        temperature_celsius=junction if edge is None else edge,
        power_watts=_first(row, "Average Graphics Package Power (W)"),
    )
    return card, reading


def _size(row: Mapping[str, Any], what: str) -> int | None:
    for name in ("vram", "VRAM"):
        mebibytes, plain = (_number(row.get(f"{name} {what} ({unit})")) for unit in ("MiB", "B"))
        if mebibytes is not None:
            return int(mebibytes * _MEBIBYTE)
        if plain is not None:
            return int(plain)
    return None


def _first(row: Mapping[str, Any], *keys: str) -> float | None:
    return next((number for key in keys if (number := _number(row.get(key))) is not None), None)


def _number(value: object) -> float | None:
    match = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[0]) if match else None
