"""MetaX cards as scenarios write them."""

from __future__ import annotations

from pathlib import Path

from motorpool_sdk.testing.vendor import Divided, MadeVendor, Recorded, Table, Written, without_lines

CARD = """
card {bdf}
name MXC500
driver 3.4.4
total 67108864
used {used}
temperature 3550
xcore 37
way 40000
way 61000
"""
FIRST_LINES = "maca 3.3.0.15\n"


def address(index: int) -> str:
    """The PCI address of the n-th card."""
    return f"0000:{0x0E + index:02x}:00.0"


def card(index: int = 0, *lines: str, used: int = 845824) -> str:
    """A healthy card, and more lines on it."""
    return CARD.format(bdf=address(index), used=used) + "".join(f"{line}\n" for line in lines)


def cards(count: int) -> str:
    """That many healthy cards."""
    return "".join(card(index) for index in range(count))


RECORDINGS = Path(__file__).parent / "recordings"
TABLE = (RECORDINGS / "table_c500_2.2.9.txt").read_text(encoding="utf-8")
PARTS = Table.of(TABLE, "0000:0e:00.0", lines=3, cards=8)


def written(count: int) -> dict[str, str]:
    """What mx-smi prints of that many cards."""
    changes = (
        {
            "| 0     MetaX C500 | 0  ": f"| {number:<6}MetaX C500 | {number:<3}",
            "0000:0e:00.0": address(number),
            " 826/": f" {826 + number}/",
        }
        for number in range(count)
    )
    return {"": PARTS.written(changes)}


NEWER = (
    "mxSmlGetTotalEccErrors",
    "mxSmlGetSingleGpuProcess",
    "mxSmlGetDeviceTopology",
    "mxSmlGetMacaVersion",
    "mxSmlGetSgpuCount",
)
MADE = MadeVendor(
    name="metax",
    package="motorpool_metax",
    source=Path(__file__).with_name("fake_mxsml.c"),
    library="libmxsml.so",
    card=card,
    device_id=address,
    unit=2**10,
    total=67108864,
    first=FIRST_LINES,
    newer=NEWER,
    needed=("mxSmlInit",),
    refusal=("init 26", "mxSmlInit: 26 (the driver's library cannot be loaded)"),
    unreadable="fault mxSmlGetDeviceInfo 4",
    untold=("fault all 3",),
    absurd={
        "used_bytes": "used 9999999999",
        "utilization_ratio": "xcore 4000",
        "temperature_celsius": "temperature 9999999",
        "power_watts": "way 4294967295",
        "memory_bytes": "total -1",
    },
    hangs={"opening": "mxSmlInit", "looking": "mxSmlGetDeviceInfo", "measuring": "mxSmlGetDeviceIpUsage"},
    divided=Divided(
        lines=("sgpu 0 16384 25 17179869184 1234567 3712", "sgpu 3 32768 50 34359738368 0 0"),
        parts={f"{address(0)}-sgpu0": (2**34, 1234567), f"{address(0)}-sgpu3": (2**35, 0)},
    ),
    recorded=Recorded(
        name="mx-smi",
        prints={"": TABLE},
        device_ids=tuple(f"0000:{bus}:00.0" for bus in ("0e", "0f", "10", "12", "35", "36", "37", "38")),
        fewer={"": without_lines(TABLE, "0000:38:00.0", after=1)},
        written=Written(cards=written, one={"": PARTS.one()}, device_id=address, used=826, total=65536, unit=2**20),
    ),
)
