"""Hygon's DCUs as scenarios write them: those of AMD's made-up library, at other addresses."""

from __future__ import annotations

from dataclasses import replace

from motorpool_hygon.hy_smi import ARGUMENTS
from motorpool_sdk.testing.vendor import Recorded, Written
from tests.plugins.accelerators.amd import cards as amd
from tests.plugins.accelerators.hygon.test_hy_smi import bw

# What Hygon's fork does not have.
LACKS = ("rsmi_dev_power_get", "rsmi_dev_market_name_get")


def address(index: int) -> str:
    """The PCI address of the n-th card."""
    return f"0000:{0x70 + index:02x}:00.0"


def card(index: int = 0, *lines: str, used: int = 10_850_304) -> str:
    """A healthy card, and more lines on it."""
    return amd.card(index, f"bus {0x70 + index}", *lines, used=used)


def recorded_address(index: int) -> str:
    """The PCI address of the n-th card that hy-smi is made to print."""
    return f"0000:{0x09 + index:02x}:00.0"


def written(count: int) -> dict[str, str]:
    """What hy-smi prints of that many cards."""
    changes = [
        {
            "PCI Bus": f"{recorded_address(number)} --> SN: 01-000206-07SCC2 --> OAM ID: {number + 1}",
            "vram Total Used Memory (MiB)": str(9703 + number),
        }
        for number in range(count)
    ]
    return {" ".join(ARGUMENTS): amd.written_json(bw(), changes)}


MADE = replace(
    amd.MADE,
    name="hygon",
    package="motorpool_hygon",
    library="librocm_smi64.so.2",
    card=card,
    device_id=address,
    lacks=LACKS,
    newer=tuple(symbol for symbol in amd.NEWER if symbol not in LACKS),
    recorded=Recorded(
        name="hy-smi",
        prints={" ".join(ARGUMENTS): bw()},
        device_ids=("0000:09:00.0", "0000:36:00.0"),
        fewer={" ".join(ARGUMENTS): amd.without_card(bw(), "card1")},
        written=Written(
            cards=written,
            one={" ".join(ARGUMENTS): amd.only_first(bw())},
            device_id=recorded_address,
            used=9703,
            total=65520,
            unit=2**20,
        ),
    ),
)
