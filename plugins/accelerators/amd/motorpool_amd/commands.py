"""amd-smi and rocm-smi: JSON in, records out. Keys moved between releases; values are texts, some with units."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from motorpool_amd.driver import AMD
from motorpool_sdk import DeviceError, Health, Sample
from motorpool_sdk.hardware import CallError, Command, Unavailable, Verdict, pci_address, rocm
from motorpool_sdk.hardware.rocm import Card, Reading

Found = tuple[Card, Reading]
_FOLDERS = ("/opt/rocm/bin", "/usr/bin")
_REMEDY = "Install ROCm, and see `dmesg`"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MOST = 2**62
# Every megabyte of AMD's tools is 2**20 bytes.
_UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}
ROCM_SMI = (
    *("--showid", "--showbus", "--showmeminfo", "vram", "--showpower", "--showuse", "--showtemp"),
    *("--showproductname", "--showuniqueid", "--showdriverversion", "--json"),
)


def from_rocm_smi(printed: str) -> list[Found]:
    """Return the cards of `rocm-smi … --json`. Warnings come before the JSON; without an address there is no name."""
    table = _json(printed)
    if not isinstance(table, dict):
        return []
    system = table.get("system")
    version = str(_get(system, "Driver version") or "")
    cards = [
        (int(name[4:]), row)
        for name, row in table.items()
        if name.startswith("card") and name[4:].isdigit() and isinstance(row, dict)
    ]
    return [_rocm_smi_row(index, row, version) for index, row in sorted(cards, key=lambda each: each[0])]


def from_amd_smi(static: str, metric: str) -> list[Found]:
    """Return the cards of `amd-smi static --json` with the figures of `amd-smi metric --json`."""
    figures = {index: row for row in _rows(metric) if isinstance(index := row.get("gpu"), int)}
    found = []
    for row in _rows(static):
        index = row.get("gpu")
        if not isinstance(index, int):
            continue
        measured = figures.get(index, {})
        memory = _at(measured, "mem_usage")
        total = _bytes(_get(memory, "total_vram"), "MB") or _bytes(_at(row, "vram").get("size"), "MB")
        asic = _at(row, "asic")
        card = Card(
            index=index,
            pci_address=pci_address(str(_at(row, "bus").get("bdf", ""))),
            unique_id=_hexadecimal(asic.get("asic_serial")),
            name=rocm.product(str(asic.get("market_name", ""))),
            graphics=_graphics(asic.get("target_graphics_version")),
            total_bytes=total,
            driver_version=str(_at(row, "driver").get("version", "")),
        )
        temperature = _at(measured, "temperature")
        power = _at(measured, "power")
        reading = Reading(
            used_bytes=_bytes(memory.get("used_vram"), "MB"),
            total_bytes=total,
            utilization_percent=_number(_at(measured, "usage").get("gfx_activity")),
            temperature_celsius=_either(_number(temperature.get("edge")), _number(temperature.get("hotspot"))),
            power_watts=_number(power.get("socket_power")),
        )
        found.append((card, reading))
    return found


class Tool:
    """A source of cards: one of AMD's commands."""

    def __init__(self, command: Command, look: Callable[[Command], list[Found]], root: Path) -> None:
        self._command = command
        self._look = look
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
        found = self._found()
        nodes = rocm.kfd_nodes(self._root)
        return [
            rocm.completed(card, nodes, AMD, self._root)
            if card.pci_address
            else DeviceError(device_id=f"index {card.index}", message=f"`{self.name}` prints no PCI address for it")
            for card, _ in found
        ]

    def measure(self, card: Card) -> Sample:
        """Return a card's figures."""
        for found, reading in self._found():
            if found.index == card.index:
                return rocm.sample(reading)
        raise CallError(self.name, None, f"prints no card {card.index}")

    def judge(self, card: Card) -> Verdict:
        """Return healthy for a card with figures: neither command was asked for its errors."""
        self.measure(card)
        return Health.HEALTHY, ()

    def _found(self) -> list[Found]:
        found = self._look(self._command)
        if not found:
            raise Unavailable(f"`{self.name}` printed no cards in JSON. {_REMEDY}")
        return found


def amd_smi(root: Path) -> Tool:
    """Return amd-smi, of ROCm 6 and later."""
    command = Command(["amd-smi"], folders=_FOLDERS, remedy=_REMEDY)
    return Tool(command, _asked_twice, root)


def rocm_smi(root: Path) -> Tool:
    """Return rocm-smi, of every ROCm."""
    command = Command(["rocm-smi"], folders=_FOLDERS, remedy=_REMEDY)
    return Tool(command, lambda each: from_rocm_smi(each.output(*ROCM_SMI)), root)


def _asked_twice(command: Command) -> list[Found]:
    return from_amd_smi(command.output("static", "--json"), command.output("metric", "--json"))


def _rocm_smi_row(index: int, row: Mapping[str, Any], version: str) -> Found:
    total = _bytes(_get(row, "VRAM Total Memory (B)"), "B")
    names = (rocm.product(str(row.get(key, ""))) for key in ("Card Series", "Card series", "Device Name"))
    edge, junction = (_number(row.get(f"Temperature (Sensor {spot}) (C)")) for spot in ("edge", "junction"))
    card = Card(
        index=index,
        pci_address=pci_address(str(row.get("PCI Bus", ""))),
        unique_id=_hexadecimal(row.get("Unique ID")),
        name=next(filter(None, names), ""),
        total_bytes=total,
        driver_version=version,
    )
    power = (_number(value) for key, value in row.items() if key.endswith("Package Power (W)") and "Max" not in key)
    reading = Reading(
        used_bytes=_bytes(row.get("VRAM Total Used Memory (B)"), "B"),
        total_bytes=total,
        utilization_percent=_number(row.get("GPU use (%)")),
        temperature_celsius=_either(edge, junction),
        power_watts=next((watts for watts in power if watts is not None), None),
    )
    return card, reading


def _json(printed: str) -> Any:
    start = min((at for sign in "{[" if (at := printed.find(sign)) >= 0), default=-1)
    try:
        return json.JSONDecoder().raw_decode(printed[start:])[0] if start >= 0 else None
    except (ValueError, RecursionError):
        return None


def _rows(printed: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of amd-smi: in a list (ROCm 6), or below ``gpu_data`` (ROCm 7)."""
    table = _json(printed)
    rows = table.get("gpu_data", []) if isinstance(table, dict) else table
    yield from (row for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()


def _at(row: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = row.get(key)
    return value if isinstance(value, dict) else {}


def _get(row: Any, key: str) -> Any:
    return row.get(key) if isinstance(row, dict) else None


def _number(value: Any) -> float | None:
    """Return the number of ``"45.0"``, ``45`` or ``{"value": 45, "unit": "C"}``; of ``"N/A"`` there is none."""
    value = value.get("value") if isinstance(value, dict) else value
    if isinstance(value, str):
        match = _NUMBER.match(value.strip())
        value = float(match[0]) if match else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Not a number, infinity, and what is beyond every measure are none.
    return float(value) if is_number and abs(value) <= _MOST else None


def _bytes(value: Any, unit: str) -> int | None:
    unit = str(value.get("unit", unit)) if isinstance(value, dict) else unit
    number = _number(value)
    return None if number is None or unit not in _UNITS or number < 0 else int(number * _UNITS[unit])


def _hexadecimal(value: Any) -> int:
    try:
        return int(str(value), 16)
    except ValueError:
        return 0


def _graphics(value: Any) -> str:
    return value if isinstance(value, str) and value.startswith("gfx") else ""


def _either(first: float | None, second: float | None) -> float | None:
    return second if first is None else first
