"""cnmon: its table in, records out, by the names of its columns, which differ between releases."""

from __future__ import annotations

import re

from motorpool_cambricon.records import Card
from motorpool_sdk import Health
from motorpool_sdk.hardware import Command, TableCommand, Verdict, share_of

_REMEDY = "Install Cambricon's driver, or look at `cnmon` and `dmesg`"
_DRIVER = re.compile(r"Driver v(\d[\w.]*)")


class Cnmon(TableCommand[Card]):
    """A source of cards: cnmon's table. Releases before 5 print no addresses."""

    names = re.compile(
        r"Pwr:Usage/Cap|vMemory-Usage|Memory-Usage|Compute-Mode|Ecc-Error|Firmware|Bus-Id|Inited|Driver|SR-IOV|Card|Name"
        r"|Util|Temp|Fan|VF"
    )
    # One value each, though with blanks: `106 W/ 250 W`, `0 MiB/ 23374 MiB`.
    values = re.compile(r"\d+ W/ *\d+ W|\d+ MiB/ *\d+ MiB|\S+")
    number, address, load = "Card", "Bus-Id", "Util"
    releases = "of a release before 5"

    def __init__(self) -> None:
        super().__init__(Command(["cnmon"], folders=["/usr/bin", "/usr/local/neuware/bin"], remedy=_REMEDY), _REMEDY)

    def card(self, index: int, address: str, row: dict[str, str], printed: str) -> Card:
        """Return a card of the table."""
        driver = _DRIVER.search(printed)
        return Card(
            index=index,
            pci_address=address,
            name=row.get("Name", ""),
            total_bytes=share_of(row)[1],
            driver_version=driver[1] if driver else "",
        )

    def verdict(self, row: dict[str, str]) -> Verdict:  # it has no word on health
        """Return unknown: the table tells nothing of a card's health."""
        return Health.UNKNOWN, ("cnmon's table does not tell a card's health; libcndev.so does",)
