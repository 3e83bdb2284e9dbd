"""mthreads-gmi: its table in, records out. A card is three lines, of which the first two tell what is wanted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from motorpool_mthreads.parsing import MEBIBYTE
from motorpool_mthreads.records import Card
from motorpool_sdk import DeviceError, Health, Sample
from motorpool_sdk.hardware import CallError, Command, Unavailable, Verdict, measurement, pci_address

_REMEDY = "Install Moore Threads' driver, or look at `mthreads-gmi` and `dmesg`"
_DRIVER = re.compile(r"Driver Version:\s*(\d\S*)")
_FIRST = re.compile(r"(\d{1,4})\s+(\S.*)")
_SHARE = re.compile(r"(\d{1,12})MiB\((\d{1,12})MiB\)")
_LEADING = re.compile(r"(\d{1,9})[%C]")
_CELLS = 3


@dataclass(slots=True)
class Row:
    """A card's lines: its name and address, its load and memory, its temperature."""

    index: int
    name: str
    address: str
    load: str
    celsius: str = ""


def rows(printed: str) -> list[Row]:
    """Return the cards of the table; of half a row what there is."""
    found: list[Row] = []
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) < _CELLS:
            continue
        first = _FIRST.fullmatch(cells[0])
        if first and not line.startswith(" "):
            found.append(Row(int(first[1]), first[2], pci_address(cells[1]), cells[2]))
        elif found and line.startswith(" ") and not found[-1].celsius:
            found[-1].celsius = cells[2]
    return found


def cards(printed: str) -> list[Card | DeviceError]:
    """Return the cards of the table."""
    driver = _DRIVER.search(printed)
    return [
        Card(
            index=row.index,
            pci_address=row.address,
            name=row.name,
            total_bytes=_share(row)[1],
            driver_version=driver[1] if driver else "",
        )
        if row.address
        else DeviceError(device_id=f"index {row.index}", message="`mthreads-gmi` prints no PCI address for it")
        for row in rows(printed)
    ]


def reading(row: Row) -> Sample:
    """Return a row's figures; what is no number is unknown. The table tells no power."""
    used, total = _share(row)
    percent, celsius = (_LEADING.match(written) for written in (row.load, row.celsius))
    return measurement(
        used_bytes=used,
        total_bytes=total,
        percent=int(percent[1]) if percent else None,
        celsius=int(celsius[1]) if celsius else None,
    )


class Gmi:
    """A source of cards: mthreads-gmi's table. It tells no links, no power and no nodes."""

    def __init__(self) -> None:
        self._command = Command(["mthreads-gmi"], folders=["/usr/bin", "/usr/local/bin"], remedy=_REMEDY)

    @property
    def name(self) -> str:
        """The command."""
        return self._command.name

    @property
    def path(self) -> str:
        """Where it stands."""
        return self._command.path

    def cards(self) -> Sequence[Card | DeviceError]:
        """Return every card of the table."""
        printed = self._command.output()
        found = cards(printed)
        if not found:
            said = " ".join(printed.split())[:200] or "nothing"
            raise Unavailable(f"`mthreads-gmi` printed no table of cards, but {said!r}. {_REMEDY}")
        return found

    def measure(self, card: Card) -> Sample:
        """Return a card's figures."""
        return reading(self._row(card))

    def judge(self, card: Card) -> Verdict:
        """Return healthy for a card whose memory is told: the table has no word on it."""
        if None in _share(self._row(card)):
            return Health.UNKNOWN, ("`mthreads-gmi` does not tell the card's memory",)
        return Health.HEALTHY, ()

    def _row(self, card: Card) -> Row:
        for row in rows(self._command.output()):
            if row.address == card.pci_address:
                return row
        raise CallError("mthreads-gmi", None, f"prints no row for {card.pci_address}")


def _share(row: Row) -> tuple[int | None, int | None]:
    share = _SHARE.search(row.load)
    return (int(share[1]) * MEBIBYTE, int(share[2]) * MEBIBYTE) if share else (None, None)
