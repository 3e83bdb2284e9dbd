"""npu-smi: tables in, records out. They are read by the names of their columns, which differ between releases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from motorpool_ascend import parsing, vnpu
from motorpool_ascend.records import Chip, Memory, Reading, Running
from motorpool_sdk import DeviceError, Sample
from motorpool_sdk.hardware import CallError, Command, Unavailable, Verdict, numa_node, pci_address, table

_REMEDY = "Install Ascend's driver, or look at `npu-smi info` and `dmesg`"
_RELEASE = re.compile(r"Version:\s*(\S+)")
# Longest first: "NPU" begins the others.
_COLUMNS = re.compile(
    r"Hugepages-Usage\(page\)|Process memory\(MB\)|Memory-Usage\(MB\)|HBM-Usage\(MB\)|Process name|Process id"
    r"|NPU Util\(%\)|AICore\(%\)|Power\(W\)|Temp\(C\)|NPU ID|Phy-ID|Device|Bus-Id|Health|Chip|Name|NPU"
)
# A share is one value, however it is spaced: `0    / 0`, `59891/ 65536`.
_VALUES = re.compile(r"\d+\s*/\s*\d+|\S+")
_SHARE = re.compile(r"(\d+)\s*/\s*(\d+)")
_MAP_COLUMN = re.compile(r"\S+(?: \S+)*")


@dataclass(slots=True)
class Row:
    """One chip's lines in the table, by column; processes come from the table below it."""

    fields: dict[str, str]
    processes: list[Running] = field(default_factory=list)

    def number(self, *columns: str) -> int | None:
        """Return the first of these columns that is a number."""
        return next((int(self.fields[name]) for name in columns if self.fields.get(name, "").isdigit()), None)


def rows(printed: str) -> list[Row]:
    """Return the chips of `npu-smi info`; of half a row what there is."""
    found: list[Row] = []
    for is_first, fields in table(printed, _COLUMNS, _VALUES):
        if "Process id" in fields:
            _give(fields, found)
        elif is_first:
            found.append(Row(fields))
        elif found:  # A table that is cut up may have a second line without its first.
            found[-1].fields |= fields
    return found


def chips(printed: str, mapped: str = "") -> list[Chip | DeviceError]:
    """Return the chips of `npu-smi info`, numbered by `npu-smi info -m` where that could be had."""
    release = _RELEASE.search(printed)
    numbers = _numbers(mapped)
    result: list[Chip | DeviceError] = []
    for place, row in enumerate(rows(printed)):
        card_id, chip_id = _place(row)
        address = pci_address(row.fields.get("Bus-Id", ""))
        if card_id is None or not address:
            name = f"row {place + 1}" if card_id is None else f"NPU {card_id} chip {chip_id}"
            message = (
                "`npu-smi info` prints no PCI address for it; its table is cut off, or of a release not known here"
            )
            result.append(DeviceError(device_id=name, message=message))
            continue
        logic_id, phy_id = numbers.get((card_id, chip_id), (None, None))
        result.append(
            Chip(
                card_id=card_id,
                chip_id=chip_id,
                logic_id=logic_id,
                phy_id=row.number("Phy-ID") if phy_id is None else phy_id,
                name=row.fields.get("Name", ""),
                pci_address=address,
                memory=_memory(row),
                driver_version=release[1] if release else "",
            )
        )
    return result


def reading(row: Row) -> Reading:
    """Return a row's figures; `-`, `NA` and what else is no number are unknown."""
    try:
        power_watts = float(row.fields.get("Power(W)", ""))
    except ValueError:
        power_watts = None
    return Reading(
        memory=_memory(row),
        utilization_percent=row.number("AICore(%)", "NPU Util(%)"),
        temperature_celsius=row.number("Temp(C)"),
        power_watts=power_watts,
        processes=tuple(row.processes),
    )


class NpuSmi:
    """A source of chips: npu-smi's tables. It tells no links and no addresses of networks."""

    def __init__(self, root: Path = Path("/")) -> None:
        folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/local/Ascend/driver/tools"]
        self._command = Command(["npu-smi"], folders=folders, remedy=_REMEDY)
        self._root = root

    @property
    def name(self) -> str:
        """The command."""
        return self._command.name

    @property
    def path(self) -> str:
        """Where it stands."""
        return self._command.path

    def cards(self) -> Sequence[Chip | DeviceError]:
        """Return every chip of the table."""
        printed = self._command.output("info")
        try:
            mapped = self._command.output("info", "-m")
        except Unavailable:
            mapped = ""
        found = chips(printed, mapped)
        if not found:
            said = " ".join(printed.split())[:200] or "nothing"
            raise Unavailable(f"`npu-smi info` printed no table of chips, but {said!r}. {_REMEDY}")
        why = "`npu-smi info` prints none, and libdcmi.so does not answer"
        return [
            each if isinstance(each, DeviceError) else vnpu.untold(each, self._root, why)
            for each in _numbered(found, self._root)
        ]

    def measure(self, card: Chip) -> Sample:
        """Return a chip's figures."""
        return parsing.sample(reading(self._row(card)))

    def judge(self, card: Chip) -> Verdict:
        """Return the table's word on a chip."""
        return parsing.verdict_of(self._row(card).fields.get("Health", ""))

    def _row(self, card: Chip) -> Row:
        for row in rows(self._command.output("info")):
            if _place(row) == (card.card_id, card.chip_id):
                return row
        raise CallError("npu-smi info", None, f"prints no row for NPU {card.card_id} chip {card.chip_id}")


def _give(fields: dict[str, str], found: list[Row]) -> None:
    """Give a process to the row of its chip."""
    place = (_integer(fields.get("NPU", "")), _integer(fields.get("Chip", "0")))
    for row in found:
        if _place(row) == place and fields["Process id"].isdigit():
            mebibytes = _integer(fields.get("Process memory(MB)", ""))
            used = None if mebibytes is None else mebibytes * 2**20
            row.processes.append(Running(int(fields["Process id"]), used))


def _place(row: Row) -> tuple[int | None, int]:
    return row.number("NPU", "NPU ID"), row.number("Chip") or 0


def _memory(row: Row) -> Memory | None:
    for column, is_hbm in (("HBM-Usage(MB)", True), ("Memory-Usage(MB)", False)):
        share = _SHARE.fullmatch(row.fields.get(column, ""))
        # A board's DDR of none stands beside its HBM.
        if share and int(share[2]):
            return Memory(total_mebibytes=int(share[2]), used_mebibytes=int(share[1]), is_hbm=is_hbm)
    return None


def _numbers(mapped: str) -> Mapping[tuple[int, int], tuple[int | None, int | None]]:
    """Return logic and physical id by card and chip, from the columns of `npu-smi info -m`."""
    lines = [line for line in mapped.splitlines() if line.strip()]
    header = next((line for line in lines if "NPU ID" in line and "Chip ID" in line), "")
    starts = {match[0]: match.start() for match in _MAP_COLUMN.finditer(header)}
    result: dict[tuple[int, int], tuple[int | None, int | None]] = {}
    for line in lines[lines.index(header) + 1 :] if header else ():
        at = {
            name: _integer(line[start:].split(maxsplit=1)[0]) for name, start in starts.items() if line[start:].strip()
        }
        card_id, chip_id = at.get("NPU ID"), at.get("Chip ID")
        # A board's controller has no logic id.
        if card_id is not None and chip_id is not None:
            result[card_id, chip_id] = (at.get("Chip Logic ID"), at.get("Chip Phy-ID"))
    return result


def _numbered(found: Sequence[Chip | DeviceError], root: Path) -> list[Chip | DeviceError]:
    """Return the chips with NUMA nodes, and with physical ids where only the driver's nodes tell them.

    The driver numbers both in one order: the n-th logic id is the n-th davinci node.
    """
    nodes = sorted(int(path.name[7:]) for path in root.glob("dev/davinci*") if path.name[7:].isdigit())
    logical = sorted(chip.logic_id for chip in found if isinstance(chip, Chip) and chip.logic_id is not None)
    by_logic_id = dict(zip(logical, nodes, strict=True)) if len(nodes) == len(logical) else {}
    return [
        each
        if isinstance(each, DeviceError)
        else replace(
            each,
            phy_id=by_logic_id.get(each.logic_id or 0) if each.phy_id is None else each.phy_id,
            numa_node=numa_node(each.pci_address, root),
        )
        for each in found
    ]


def _integer(written: str) -> int | None:
    return int(written) if written.isdigit() else None
