"""Cambricon cards as scenarios write them."""

from __future__ import annotations

from pathlib import Path

from motorpool_sdk.testing.vendor import Divided, MadeVendor, Recorded, Table, Written, without_lines

CARD = """
card {index}
name MLU590-M9
bus {bus}
number {slot}
total 81920
used {used}
load 37
chip 43
board 35
power 101
driver 6 2 11
"""


def address(index: int) -> str:
    """The PCI address of the n-th card."""
    return f"0000:{0x39 + index:02x}:00.0"


def card(index: int = 0, *lines: str, used: int = 666) -> str:
    """A healthy card, and more lines on it; its slot is two beyond its index."""
    return CARD.format(index=index, bus=0x39 + index, slot=index + 2, used=used) + "".join(
        f"{line}\n" for line in lines
    )


def cards(count: int) -> str:
    """That many healthy cards."""
    return "".join(card(index) for index in range(count))


RECORDINGS = Path(__file__).parent / "recordings"
TABLE = (RECORDINGS / "table_mlu370-x8_5.10.13.txt").read_text(encoding="utf-8")
PARTS = Table.of(TABLE, "0000:39:00.0", lines=3, cards=2)


def written(count: int) -> dict[str, str]:
    """What cnmon prints of that many cards."""
    changes = (
        {
            "| 0     /": f"| {number:<6}/",
            "0000:39:00.0": address(number).upper(),
            "     0 MiB/": f"{number:>6} MiB/",
        }
        for number in range(count)
    )
    return {"": PARTS.written(changes)}


NEWER = (
    "cndevGetProcessInfo",
    "cndevGetVersionInfo",
    "cndevGetDevicePowerInfo",
    "cndevGetMLULinkPortNumber",
    "cndevGetUUID",
    "cndevGetMimMode",
    "cndevGetSMLUMode",
)
MADE = MadeVendor(
    name="cambricon",
    package="motorpool_cambricon",
    source=Path(__file__).with_name("fake_cndev.c"),
    library="libcndev.so",
    card=card,
    device_id=address,
    unit=2**20,
    total=81920,
    newer=NEWER,
    needed=("cndevInit",),
    refusal=("init 1", "CNDEV cannot be used: cndevInit: 1 (no driver)"),
    unreadable="fault cndevGetPCIeInfoV2 18",
    untold=("fault all 10",),
    absurd={
        "used_bytes": "used 99999999",
        "utilization_ratio": "load 4000",
        "temperature_celsius": "chip 65535",
        "power_watts": "power -1",
        "memory_bytes": "total -1",
    },
    hangs={
        "opening": "cndevInit",
        "looking": "cndevGetPCIeInfoV2",
        "measuring": "cndevGetDeviceUtilizationInfo",
    },
    divided=Divided(
        lines=("mim B0 2m.16gb 1 16384 700 41 /dev/cap1", "mim C0 4m.32gb 3 32768 0 0 /dev/cap3"),
        parts={"MLU-B0": (2**34, 700 * 2**20), "MLU-C0": (2**35, 0)},
    ),
    recorded=Recorded(
        name="cnmon",
        prints={"": TABLE},
        device_ids=("0000:39:00.0", "0000:3d:00.0"),
        fewer={"": without_lines(TABLE, "0000:3D:00.0", after=1)},
        written=Written(cards=written, one={"": PARTS.one()}, device_id=address, used=0, total=23374, unit=2**20),
    ),
)
