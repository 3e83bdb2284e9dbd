"""mx-smi: its table in, records out, by the names of its columns, which differ between releases."""

from __future__ import annotations

import re

from motorpool_metax import parsing
from motorpool_metax.records import Card
from motorpool_sdk import Health
from motorpool_sdk.hardware import Command, TableCommand, Verdict, share_of

_REMEDY = "Install MetaX's driver, or look at `mx-smi` and `dmesg`"
_DRIVER = re.compile(r"Kernel Mode Driver Version:\s*(\d\S*)")
_MACA = re.compile(r"MACA Version:\s*(\d\S*)")


class MxSmi(TableCommand[Card]):
    """A source of cards: mx-smi's table."""

    names = re.compile(
        r"Pwr:Usage/Cap|Memory-Usage|Persistence-M|Persist-M|GPU-State|GPU-Util|sGPU-M|Bus-id|Board|NAME|Name|Temp|Perf|GPU"
    )
    # One value each, though with blanks: `MetaX C500`, `57W / 350W`, `826/65536 MiB`.
    values = re.compile(r"MetaX \S+|\S+ / \S+|\d+/\d+ MiB|\S+")
    number, address, load = "GPU", "Bus-id", "GPU-Util"

    def __init__(self) -> None:
        super().__init__(Command(["mx-smi"], folders=["/opt/mxdriver/bin", "/opt/maca/bin"], remedy=_REMEDY), _REMEDY)

    def card(self, index: int, address: str, row: dict[str, str], printed: str) -> Card:
        """Return a card of the table."""
        driver, maca = _DRIVER.search(printed), _MACA.search(printed)
        return Card(
            index=index,
            pci_address=address,
            name=row.get("NAME", row.get("Name", "")),
            total_bytes=share_of(row)[1],
            driver_version=driver[1] if driver else "",
            maca_version=maca[1] if maca else "",
        )

    def verdict(self, row: dict[str, str]) -> Verdict:
        """Return the table's word on a card; old releases have none."""
        state = row.get("GPU-State")
        if state is None:
            return Health.UNKNOWN, ("this release of mx-smi does not tell a card's state",)
        return parsing.verdict(is_available=state == "Available", reason=f"mx-smi calls it {state}")
