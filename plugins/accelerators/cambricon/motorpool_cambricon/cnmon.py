"""cnmon: its table in, records out, by the names of its columns, which differ between releases."""

from __future__ import annotations

import re
from collections.abc import Sequence

from motorpool_cambricon import parsing
from motorpool_cambricon.records import Card
from motorpool_sdk import DeviceError, Health, Sample
from motorpool_sdk.hardware import CallError, Command, Unavailable, Verdict, measurement, pci_address, table

_REMEDY = "Install Cambricon's driver, or look at `cnmon` and `dmesg`"
_DRIVER = re.compile(r"Driver v(\d[\w.]*)")
_NAMES = re.compile(
    r"Pwr:Usage/Cap|vMemory-Usage|Memory-Usage|Compute-Mode|Ecc-Error|Firmware|Bus-Id|Inited|Driver|SR-IOV|Card|Name|Util"
    r"|Temp|Fan|VF"
)
# One value each, though with blanks: `106 W/ 250 W`, `0 MiB/ 23374 MiB`.
_VALUES = re.compile(r"\d+ W/ *\d+ W|\d+ MiB/ *\d+ MiB|\S+")
_SHARE = re.compile(r"(\d{1,12}) MiB/ *(\d{1,12}) MiB")
_LEADING = re.compile(r"(\d{1,9}) ?(?:C|W|%)")

Row = dict[str, str]


def rows(printed: str) -> list[Row]:
    """Return the cards of the table, by column; of half a row what there is."""
    found: list[Row] = []
    for is_first, fields in table(printed, _NAMES, _VALUES):
        if is_first:
            found.append(fields)
        else:
            found[-1] |= fields
    return [row for row in found if row.get("Card", "").isdigit()]


def cards(printed: str) -> list[Card | DeviceError]:
    """Return the cards of the table; releases before 5 print no addresses, by which alone a card can be known."""
    driver = _DRIVER.search(printed)
    result: list[Card | DeviceError] = []
    for row in rows(printed):
        index, address = int(row["Card"]), pci_address(row.get("Bus-Id", ""))
        if not address:
            message = "`cnmon` prints no PCI address for it; its table is cut off, or of a release before 5"
            result.append(DeviceError(device_id=f"index {index}", message=message))
            continue
        result.append(
            Card(
                index=index,
                pci_address=address,
                name=row.get("Name", ""),
                total_bytes=_share(row)[1],
                driver_version=driver[1] if driver else "",
            )
        )
    return result


def reading(row: Row) -> Sample:
    """Return a row's figures; what is no number is unknown."""
    used, total = _share(row)
    return measurement(
        used_bytes=used,
        total_bytes=total,
        percent=_number(row.get("Util", "")),
        celsius=_number(row.get("Temp", "")),
        watts=_number(row.get("Pwr:Usage/Cap", "")),
    )


class Cnmon:
    """A source of cards: cnmon's table. It tells no processes."""

    def __init__(self) -> None:
        self._command = Command(["cnmon"], folders=["/usr/bin", "/usr/local/neuware/bin"], remedy=_REMEDY)

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
            raise Unavailable(f"`cnmon` printed no table of cards, but {said!r}. {_REMEDY}")
        return found

    def measure(self, card: Card) -> Sample:
        """Return a card's figures."""
        return reading(self._row(card))

    def judge(self, card: Card) -> Verdict:
        """Return unknown for a card with a row: the table tells nothing of its health."""
        self._row(card)
        return Health.UNKNOWN, ("cnmon's table does not tell a card's health; libcndev.so does",)

    def _row(self, card: Card) -> Row:
        for row in rows(self._command.output()):
            if pci_address(row.get("Bus-Id", "")) == card.pci_address:
                return row
        raise CallError("cnmon", None, f"prints no row for {card.pci_address}")


def _share(row: Row) -> tuple[int | None, int | None]:
    share = _SHARE.fullmatch(row.get("Memory-Usage", ""))
    return (int(share[1]) * parsing.MEBIBYTE, int(share[2]) * parsing.MEBIBYTE) if share else (None, None)


def _number(written: str) -> int | None:
    leading = _LEADING.match(written)
    return int(leading[1]) if leading else None
