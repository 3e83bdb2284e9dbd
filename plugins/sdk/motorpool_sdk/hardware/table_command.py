"""A vendor's command that prints one table of cards, as nvidia-smi made common: several vendors' are alike."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

from motorpool_sdk.accelerator import DeviceError, Sample
from motorpool_sdk.hardware.commands import Command
from motorpool_sdk.hardware.figures import measurement
from motorpool_sdk.hardware.pci import pci_address
from motorpool_sdk.hardware.sources import CallError, Unavailable, Verdict
from motorpool_sdk.hardware.tables import table


class Addressed(Protocol):
    """A record of a card that has its PCI address."""

    @property
    def pci_address(self) -> str:
        """The address, as the kernel writes it."""
        ...


C = TypeVar("C", bound=Addressed)
Row = dict[str, str]

_MEBIBYTE = 2**20
# Used and total, however spaced: `0 MiB/ 23374 MiB`, `826/65536 MiB`.
_SHARE = re.compile(r"(\d{1,12})(?: MiB)?/ *(\d{1,12}) MiB")
# With its unit, and what may follow: `32C`, `106 W/ 250 W`, `57W / 350W`, `0%`.
_LEADING = re.compile(r"(\d{1,9}) ?(?:C|W|%)")


class TableCommand(Generic[C]):
    """A source of cards: subclass with how the table's columns are called, and what becomes of a row.

    ``names`` finds names in its header, ``values`` the values in its rows (as for ``table``). ``number``, ``address``
    and ``load`` are the columns of a card's number, address and load; used and total memory, temperature and power
    stand in ``Memory-Usage``, ``Temp`` and ``Pwr:Usage/Cap`` everywhere. ``releases`` ends the sentence about a row
    without an address. It tells no links and no processes.
    """

    names: ClassVar[re.Pattern[str]]
    values: ClassVar[re.Pattern[str]]
    number: ClassVar[str]
    address: ClassVar[str]
    load: ClassVar[str]
    releases: ClassVar[str] = "of a release not known here"

    def __init__(self, command: Command, remedy: str) -> None:
        self._command = command
        self._remedy = remedy

    @property
    def name(self) -> str:
        """The command."""
        return self._command.name

    @property
    def path(self) -> str:
        """Where it stands."""
        return self._command.path

    @abstractmethod
    def card(self, index: int, address: str, row: Row, printed: str) -> C:
        """Return the record of a card, of its row and of what is printed around the table."""

    @abstractmethod
    def verdict(self, row: Row) -> Verdict:
        """Return what a row tells of its card's health."""

    def rows(self, printed: str) -> list[Row]:
        """Return the cards of the table, by column; of half a row what there is."""
        found: list[Row] = []
        for is_first, fields in table(printed, self.names, self.values):
            if is_first:
                found.append(fields)
            else:
                found[-1] |= fields
        return [row for row in found if row.get(self.number, "").isdigit()]

    def read(self, printed: str) -> list[C | DeviceError]:
        """Return the cards of the table; one without an address, by which alone a card can be known, is an error."""
        result: list[C | DeviceError] = []
        for row in self.rows(printed):
            index, address = int(row[self.number]), pci_address(row.get(self.address, ""))
            if address:
                result.append(self.card(index, address, row, printed))
                continue
            message = f"`{self.name}` prints no PCI address for it; its table is cut off, or {self.releases}"
            result.append(DeviceError(device_id=f"index {index}", message=message))
        return result

    def reading(self, row: Row) -> Sample:
        """Return a row's figures; what is no number is unknown."""
        used, total = share_of(row)
        return measurement(
            used_bytes=used,
            total_bytes=total,
            percent=_number(row.get(self.load, "")),
            celsius=_number(row.get("Temp", "")),
            watts=_number(row.get("Pwr:Usage/Cap", "")),
        )

    def cards(self) -> Sequence[C | DeviceError]:
        """Return every card of the table."""
        printed = self._command.output()
        found = self.read(printed)
        if not found:
            said = " ".join(printed.split())[:200] or "nothing"
            raise Unavailable(f"`{self.name}` printed no table of cards, but {said!r}. {self._remedy}")
        return found

    def measure(self, card: C) -> Sample:
        """Return a card's figures."""
        return self.reading(self._row(card))

    def judge(self, card: C) -> Verdict:
        """Return the table's word on a card."""
        return self.verdict(self._row(card))

    def _row(self, card: C) -> Row:
        for row in self.rows(self._command.output()):
            if pci_address(row.get(self.address, "")) == card.pci_address:
                return row
        raise CallError(self.name, None, f"prints no row for {card.pci_address}")


def share_of(row: Row) -> tuple[int | None, int | None]:
    """Return used and total bytes of a row, None where they are not told."""
    share = _SHARE.fullmatch(row.get("Memory-Usage", ""))
    return (int(share[1]) * _MEBIBYTE, int(share[2]) * _MEBIBYTE) if share else (None, None)


def _number(written: str) -> int | None:
    leading = _LEADING.match(written)
    return int(leading[1]) if leading else None
