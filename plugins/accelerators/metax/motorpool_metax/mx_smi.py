"""mx-smi: its table in, records out, by the names of its columns, which differ between releases."""

from __future__ import annotations

import re
from collections.abc import Sequence

from motorpool_metax import parsing
from motorpool_metax.records import Card
from motorpool_sdk import DeviceError, Health, Sample
from motorpool_sdk.hardware import CallError, Command, Unavailable, Verdict, measurement, pci_address, table

_REMEDY = "Install MetaX's driver, or look at `mx-smi` and `dmesg`"
_DRIVER = re.compile(r"Kernel Mode Driver Version:\s*(\d\S*)")
_MACA = re.compile(r"MACA Version:\s*(\d\S*)")
_NAMES = re.compile(
    r"Pwr:Usage/Cap|Memory-Usage|Persistence-M|Persist-M|GPU-State|GPU-Util|sGPU-M|Bus-id|Board|NAME|Name|Temp|Perf|GPU"
)
# One value each, though with blanks: `MetaX C500`, `57W / 350W`, `826/65536 MiB`.
_VALUES = re.compile(r"MetaX \S+|\S+ / \S+|\d+/\d+ MiB|\S+")
_SHARE = re.compile(r"(\d{1,12})/(\d{1,12}) MiB")
_LEADING = re.compile(r"(\d{1,9})(?:C|W|%)")

Row = dict[str, str]


def rows(printed: str) -> list[Row]:
    """Return the cards of the table, by column; of half a row what there is."""
    found: list[Row] = []
    for is_first, fields in table(printed, _NAMES, _VALUES):
        if is_first:
            found.append(fields)
        else:
            found[-1] |= fields
    return [row for row in found if row.get("GPU", "").isdigit()]


def cards(printed: str) -> list[Card | DeviceError]:
    """Return the cards of the table."""
    driver, maca = _DRIVER.search(printed), _MACA.search(printed)
    result: list[Card | DeviceError] = []
    for row in rows(printed):
        index, address = int(row["GPU"]), pci_address(row.get("Bus-id", ""))
        if not address:
            message = "`mx-smi` prints no PCI address for it; its table is cut off, or of a release not known here"
            result.append(DeviceError(device_id=f"index {index}", message=message))
            continue
        result.append(
            Card(
                index=index,
                pci_address=address,
                name=row.get("NAME", row.get("Name", "")),
                total_bytes=_share(row)[1],
                driver_version=driver[1] if driver else "",
                maca_version=maca[1] if maca else "",
            )
        )
    return result


def reading(row: Row) -> Sample:
    """Return a row's figures; what is no number is unknown."""
    used, total = _share(row)
    return measurement(
        used_bytes=used,
        total_bytes=total,
        percent=_number(row.get("GPU-Util", "")),
        celsius=_number(row.get("Temp", "")),
        watts=_number(row.get("Pwr:Usage/Cap", "")),
    )


class MxSmi:
    """A source of cards: mx-smi's table. It tells no links and no processes."""

    def __init__(self) -> None:
        self._command = Command(["mx-smi"], folders=["/opt/mxdriver/bin", "/opt/maca/bin"], remedy=_REMEDY)

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
            raise Unavailable(f"`mx-smi` printed no table of cards, but {said!r}. {_REMEDY}")
        return found

    def measure(self, card: Card) -> Sample:
        """Return a card's figures."""
        return reading(self._row(card))

    def judge(self, card: Card) -> Verdict:
        """Return the table's word on a card; old releases have none."""
        state = self._row(card).get("GPU-State")
        if state is None:
            return Health.UNKNOWN, ("this release of mx-smi does not tell a card's state",)
        return parsing.verdict(is_available=state == "Available", reason=f"mx-smi calls it {state}")

    def _row(self, card: Card) -> Row:
        for row in rows(self._command.output()):
            if pci_address(row.get("Bus-id", "")) == card.pci_address:
                return row
        raise CallError("mx-smi", None, f"prints no row for {card.pci_address}")


def _share(row: Row) -> tuple[int | None, int | None]:
    share = _SHARE.fullmatch(row.get("Memory-Usage", ""))
    return (int(share[1]) * parsing.MEBIBYTE, int(share[2]) * parsing.MEBIBYTE) if share else (None, None)


def _number(written: str) -> int | None:
    leading = _LEADING.match(written)
    return int(leading[1]) if leading else None
