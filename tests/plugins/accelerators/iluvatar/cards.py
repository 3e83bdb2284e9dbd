"""Iluvatar cards as scenarios write them: those of NVIDIA's made-up library."""

from __future__ import annotations

from pathlib import Path

from motorpool_sdk.testing.vendor import MadeVendor, Recorded, Table, Written

FIRST_LINES = "driver 4.3.8\ncuda 10020\n"
CARD = """
card GPU-1ac807aa-cbcd-5579-8591-{index:012d}
name Iluvatar BI-V150
bus 0000{address}
total 32768
used {used}
util 37
temperature 40
power 104000
minor {minor}
"""


def address(index: int) -> str:
    """The PCI address of the n-th card."""
    return f"0000:{0x10 + index:02x}:00.0"


def uuid(index: int) -> str:
    """Its UUID."""
    return f"GPU-1ac807aa-cbcd-5579-8591-{index:012d}"


def card(index: int = 0, *lines: str, used: int = 64) -> str:
    """A healthy card, and more lines on it; its minor number is 4 beyond its index."""
    written = CARD.format(address=address(index), index=index, minor=index + 4, used=used)
    return written + "".join(f"{line}\n" for line in lines)


def cards(count: int) -> str:
    """That many healthy cards."""
    return "".join(card(index) for index in range(count))


RECORDINGS = Path(__file__).parent / "recordings"
PRINTED = (RECORDINGS / "ixsmi_mr-v100_4.2.0.xml").read_text(encoding="utf-8")
_LAST = PRINTED.index('<gpu id="00000000:0F:00.0">')
_LINES = PRINTED[:_LAST].count("\n") - PRINTED[: PRINTED.index("<gpu id")].count("\n")
PARTS = Table(
    PRINTED[: PRINTED.index("        <gpu id")],
    "".join(PRINTED.splitlines(keepends=True)[7 : 7 + _LINES]),
    "</ixsmi_log>",
)


def recorded_address(index: int) -> str:
    """The PCI address of the n-th card that ixsmi is made to print."""
    return f"0000:{0x0C + index:02x}:00.0"


def written(count: int) -> dict[str, str]:
    """What ixsmi prints of that many cards."""
    changes = (
        {
            "00000000:0C:00.0": f"0000{recorded_address(number).upper()}",
            "<pci_bus>0C<": f"<pci_bus>{0x0C + number:02X}<",
            "<minor_number>0<": f"<minor_number>{number}<",
            "d59d436d6eca": f"{0xD59D436D6ECA + number:012x}",
            "<used>27780 MiB": f"<used>{27780 + number} MiB",
        }
        for number in range(count)
    )
    return {"-q -x": PARTS.written(changes)}


MADE = MadeVendor(
    name="iluvatar",
    package="motorpool_iluvatar",
    source=Path(__file__).parents[1] / "nvidia" / "fake_nvml.c",
    library="libixml.so",
    card=card,
    device_id=address,
    unit=2**20,
    total=32768,
    first=FIRST_LINES,
    defines=("IXML",),
    newer=("ixmlDeviceGetHealth",),
    newer_defines=("OLD_DRIVER",),
    needed=("nvmlInit_v2",),
    refusal=("init 18", "nvmlInit_v2: 18"),
    unreadable="fault handle 15",
    untold=("fault all 3",),
    absurd={
        "used_bytes": "used 99999999",
        "utilization_ratio": "util 4000",
        "temperature_celsius": "temperature 65535",
        "power_watts": "power 4294967295",
        "memory_bytes": "total 0",
    },
    hangs={
        "opening": "nvmlInitWithFlags",
        "looking": "nvmlDeviceGetPciInfo_v3",
        "measuring": "nvmlDeviceGetUtilizationRates",
    },
    recorded=Recorded(
        name="ixsmi",
        prints={"-q -x": PRINTED},
        device_ids=("0000:0c:00.0", "0000:0f:00.0"),
        fewer={"-q -x": PRINTED[:_LAST] + PRINTED[PRINTED.rindex("</gpu>") + len("</gpu>") :]},
        written=Written(
            cards=written,
            one={"-q -x": PARTS.one()},
            device_id=recorded_address,
            used=27780,
            total=32768,
            unit=2**20,
        ),
    ),
)
