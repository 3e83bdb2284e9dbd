"""nvidia-smi: the CSV of its queries in, records out. Columns are read by the names that it heads them with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from motorpool_nvidia.records import (
    FUNCTION_NOT_FOUND,
    NOT_FOUND,
    NOT_SUPPORTED,
    Card,
    Condition,
    DriverError,
    Fault,
    Measurement,
    Memory,
    Partition,
    RemappedRows,
    Running,
    System,
    Unreadable,
)
from motorpool_sdk import SourceReport
from motorpool_sdk.hardware import Command, Unavailable, numa_node, pci_address

T = TypeVar("T")

_LEAST = "uuid,index,name,pci.bus_id,driver_version,memory.total,memory.used,utilization.gpu,temperature.gpu,power.draw"
CARDS = f"--query-gpu={_LEAST},memory.reserved,compute_cap,mig.mode.current"
# What drivers knew before they knew the others: one unknown name, and they answer nothing.
CARDS_OF_OLD = f"--query-gpu={_LEAST}"
ERRORS = (
    "--query-gpu=uuid,ecc.errors.uncorrected.volatile.total,retired_pages.pending,remapped_rows.pending,"
    "remapped_rows.failure"
)
PROCESSES = "--query-compute-apps=gpu_uuid,pid,used_gpu_memory"
_CSV = "--format=csv"
_REMEDY = "Install NVIDIA's driver, or look at `nvidia-smi` and `dmesg`"
_UNIT = re.compile(r" \[[^\]]*\]$")
_INTEGER = re.compile(r"(\d{1,15})(?: (?:MiB|%))?")
_WATTS = re.compile(r"(\d{1,9}(?:\.\d{1,6})?) W")
_CAPABILITY = re.compile(r"(\d{1,3})\.(\d{1,3})")
_LISTED = re.compile(r"^(GPU|\s+MIG) ([^\n]*?)\s*\(UUID: ((?:GPU|MIG)-[^)\s]+)\)", re.MULTILINE)
_PROFILE = re.compile(r"(\S+)\s+Device")
_CUDA = re.compile(r"^CUDA Version\s*:\s*(\d{1,3})\.(\d{1,3})", re.MULTILINE)
_NOTHING = frozenset({"N/A", "[N/A]", "[Not Supported]", "[Not Found]", ""})
_UNKNOWN = 999
_MEBIBYTE = 2**20

Row = Mapping[str, str]


def table(printed: str, key: str) -> list[Row]:
    """Return a CSV's rows by column, without the units in the names; what stands before the header is passed over."""
    lines = [[cell.strip() for cell in line.split(", ")] for line in printed.splitlines()]
    starts = [number for number, cells in enumerate(lines) if key in cells]
    if not starts:
        return []
    names = [_UNIT.sub("", name) for name in lines[starts[0]]]
    return [dict(zip(names, cells, strict=True)) for cells in lines[starts[0] + 1 :] if len(cells) == len(names)]


def partitions(listed: str) -> dict[str, list[Partition]]:
    """Return the MIG partitions of each card in `nvidia-smi -L`, which tells their names and not their memory."""
    untold = Fault(FUNCTION_NOT_FOUND, "nvidia-smi -L does not tell it; libnvidia-ml.so.1 does")
    found: dict[str, list[Partition]] = {}
    card = ""
    for kind, what, uuid in _LISTED.findall(listed):
        if kind == "GPU":
            card = uuid
            continue
        profile = _PROFILE.match(what)
        name: str | Fault = f"MIG {profile[1]}" if profile else untold
        found.setdefault(card, []).append(Partition(uuid=uuid, name=name, memory=untold, gpu_instance=untold))
    return found


class NvidiaSmi:
    """The command that comes with the driver, where NVML cannot be used. It tells no links and no memory of MIG."""

    def __init__(self, root: Path = Path("/")) -> None:
        folders = ["/usr/bin", "/usr/local/nvidia/bin", "/usr/lib/wsl/lib"]
        self._command = Command(["nvidia-smi"], folders=folders, remedy=_REMEDY)
        self._root = root
        self._failure = ""

    def source(self) -> SourceReport:
        """Return where it stands, and why it did not answer."""
        return SourceReport(name=self._command.name, path=self._command.path, failure=self._failure)

    def system(self) -> System:
        """Return the versions."""
        rows = self._rows()
        cuda = _CUDA.search(self._said("--version"))
        return System(
            driver_version=rows[0].get("driver_version", ""),
            cuda_version=int(cuda[1]) * 1000 + int(cuda[2]) * 10 if cuda else _absent("the version of CUDA"),
        )

    def cards(self) -> list[Card | Unreadable]:
        """Return every card that it prints, in its order."""
        rows = self._rows()
        parts = partitions(self._said("-L")) if any(row.get("mig.mode.current") == "Enabled" for row in rows) else {}
        return [self._card(place, row, parts) for place, row in enumerate(rows)]

    def find(self, uuid: str) -> Fault | None:
        """Return None if this card or partition is there, else why not."""
        row = self._row_of(uuid)
        return row if isinstance(row, Fault) else None

    def measure(self, uuid: str) -> Measurement | Fault:
        """Return a measurement of one card; of a partition it tells none."""
        row = self._row_of(uuid)
        if isinstance(row, Fault):
            return row
        if row.get("uuid") != uuid:
            row = {}
        watts = _WATTS.fullmatch(row.get("power.draw", ""))
        return Measurement(
            uuid=uuid,
            memory=_memory(row),
            utilization_percent=_number(row, "utilization.gpu"),
            temperature_celsius=_number(row, "temperature.gpu"),
            power_milliwatts=round(float(watts[1]) * 1000) if watts else _fault(row, "power.draw"),
            processes=tuple(self._processes(uuid)) if row else (),
        )

    def condition(self, uuid: str) -> Condition:
        """Return what tells of a card's health; a partition is as well as its card."""
        row = self._row_of(uuid)
        if isinstance(row, Fault):
            return Condition(presence=row)
        own = row.get("uuid", "")
        errors = next((each for each in table(self._said(ERRORS, _CSV), "uuid") if each.get("uuid") == own), {})
        pending, failed = _word(errors, "remapped_rows.pending"), _word(errors, "remapped_rows.failure")
        rows: RemappedRows | Fault
        if isinstance(pending, Fault):
            rows = pending
        elif isinstance(failed, Fault):
            rows = failed
        else:
            rows = RemappedRows(is_pending=pending, has_failed=failed)
        is_divided = row.get("mig.mode.current") == "Enabled"
        return Condition(
            presence=None,
            uncorrected_errors=_number(errors, "ecc.errors.uncorrected.volatile.total"),
            remapped_rows=rows,
            retirement_is_pending=_word(errors, "retired_pages.pending"),
            lacks_partitions=is_divided and not partitions(self._said("-L")).get(own),
        )

    def _rows(self) -> list[Row]:
        """Return the cards' rows; raises DriverError where it prints none."""
        printed = self._asked(CARDS, _CSV)
        rows = table(printed, "uuid") or table(self._asked(CARDS_OF_OLD, _CSV), "uuid")
        if not rows:
            said = " ".join(printed.split())[:200] or "nothing"
            self._failure = f"`nvidia-smi` printed no table of cards, but {said!r}. {_REMEDY}"
            raise DriverError(self._failure)
        self._failure = ""
        return rows

    def _row_of(self, uuid: str) -> Row | Fault:
        """Return the row of a card, or of the card that a partition is of."""
        rows = self._rows()
        own = next((row for row in rows if row.get("uuid") == uuid), None)
        if own is not None:
            return own
        for card, parts in partitions(self._said("-L")).items():
            if any(part.uuid == uuid for part in parts):
                return next((row for row in rows if row.get("uuid") == card), {})
        return Fault(NOT_FOUND, "`nvidia-smi` does not list it")

    def _card(self, place: int, row: Row, parts: Mapping[str, Sequence[Partition]]) -> Card | Unreadable:
        uuid, index = row.get("uuid", ""), _number(row, "index")
        if not uuid.startswith("GPU-") or isinstance(index, Fault):
            return Unreadable(index=place, fault=_fault(row, "uuid"))
        address = pci_address(row.get("pci.bus_id", ""))
        capability = _CAPABILITY.fullmatch(row.get("compute_cap", ""))
        return Card(
            uuid=uuid,
            index=index,
            name=row.get("name", "") or _fault(row, "name"),
            pci_address=address or _fault(row, "pci.bus_id"),
            memory=_memory(row),
            compute_capability=(int(capability[1]), int(capability[2])) if capability else _fault(row, "compute_cap"),
            architecture=_absent("the architecture"),
            numa_node=numa_node(address, self._root) if address else None,
            partitions=tuple(parts.get(uuid, ())),
            links=(),
            link_speed=_absent("the speed of links"),
        )

    def _processes(self, uuid: str) -> list[Running]:
        rows = table(self._said(PROCESSES, _CSV), "gpu_uuid")
        return [
            Running(int(row["pid"]), None if isinstance(used, Fault) else used * _MEBIBYTE)
            for row in rows
            if row.get("gpu_uuid") == uuid and row.get("pid", "").isdigit()
            for used in [_number(row, "used_gpu_memory")]
        ]

    def _asked(self, *arguments: str) -> str:
        try:
            return self._command.output(*arguments)
        except Unavailable as error:
            self._failure = str(error)
            raise DriverError(self._failure) from error

    def _said(self, *arguments: str) -> str:
        """Return what it prints, nothing where it cannot: for what may stay unknown."""
        try:
            return self._command.output(*arguments)
        except Unavailable:
            return ""


def _memory(row: Row) -> Memory | Fault:
    total, used = _number(row, "memory.total"), _number(row, "memory.used")
    reserved = _number(row, "memory.reserved")
    if isinstance(total, Fault):
        return total
    if isinstance(used, Fault):
        return used
    return Memory(
        total_bytes=total * _MEBIBYTE,
        used_bytes=used * _MEBIBYTE,
        reserved_bytes=None if isinstance(reserved, Fault) else reserved * _MEBIBYTE,
    )


def _number(row: Row, column: str) -> int | Fault:
    return _read(row, column, lambda written: int(found[1]) if (found := _INTEGER.fullmatch(written)) else None)


def _word(row: Row, column: str) -> bool | Fault:
    return _read(row, column, {"Yes": True, "1": True, "No": False, "0": False}.get)


def _read(row: Row, column: str, meaning: Callable[[str], T | None]) -> T | Fault:
    value = meaning(row.get(column, ""))
    return _fault(row, column) if value is None else value


def _fault(row: Row, column: str) -> Fault:
    """Return why a column has no figure: the card has no such thing, nvidia-smi does not know it, or it failed."""
    if column not in row:
        return _absent(column)
    written = row[column]
    return Fault(NOT_SUPPORTED if written in _NOTHING else _UNKNOWN, f"nvidia-smi prints {written!r} as {column}")


def _absent(what: str) -> Fault:
    return Fault(FUNCTION_NOT_FOUND, f"nvidia-smi does not tell {what}")
