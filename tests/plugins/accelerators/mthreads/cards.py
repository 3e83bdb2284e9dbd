"""Moore Threads cards as scenarios write them."""

from __future__ import annotations

from pathlib import Path

from motorpool_sdk.testing.vendor import MadeVendor, Recorded, Table, Written, without_lines

FIRST_LINES = "driver 3.3.5-server\n"
CARD = """
card 0000{address}
name MTT S5000
total 85899345920
used {used}
load 37
temperature 48
power 116384
gpu /dev/mtgpu.{index}
primary /dev/dri/card{card}
render /dev/dri/renderD{render}
"""


def address(index: int) -> str:
    """The PCI address of the n-th card."""
    return f"0000:{0x18 + index:02x}:00.0"


def card(index: int = 0, *lines: str, used: int = 3_584_032_768) -> str:
    """A healthy card, and more lines on it; MTML writes eight digits of the domain."""
    written = CARD.format(address=address(index), index=index, card=index + 1, render=128 + index, used=used)
    return written + "".join(f"{line}\n" for line in lines)


def cards(count: int) -> str:
    """That many healthy cards."""
    return "".join(card(index) for index in range(count))


RECORDINGS = Path(__file__).parent / "recordings"
TABLE = (RECORDINGS / "table_s5000_2.4.1.txt").read_text(encoding="utf-8")
PARTS = Table.of(TABLE, "00000000:18:00.0", lines=4, cards=8)


def written(count: int) -> dict[str, str]:
    """What mthreads-gmi prints of that many cards."""
    changes = (
        {
            "0    MTT": f"{number:<5}MTT",
            "00000000:18:00.0": f"0000{address(number)}",
            "    0MiB(": f"    {number}MiB(",
        }
        for number in range(count)
    )
    return {"": PARTS.written(changes)}


NEWER = (
    "mtmlDeviceGetMtLinkSpec",
    "mtmlDeviceGetGpuPath",
    "mtmlLibraryInitSystem",
    "mtmlDeviceGetPowerUsage",
    "mtmlDeviceGetProperty",
)
MADE = MadeVendor(
    name="mthreads",
    package="motorpool_mthreads",
    source=Path(__file__).with_name("fake_mtml.c"),
    library="libmtml.so.2",
    card=card,
    device_id=address,
    unit=1,
    total=85899345920,
    first=FIRST_LINES,
    newer=NEWER,
    needed=("mtmlLibraryInit",),
    refusal=("init 1", "MTML cannot be used: mtmlLibraryInit: 1 (the driver is not loaded)"),
    unreadable="fault mtmlLibraryInitDeviceByIndex 2",
    untold=tuple(
        f"fault {name} 4" for name in ("mtmlDeviceInitMemory", "mtmlDeviceInitGpu", "mtmlDeviceGetPowerUsage")
    ),
    absurd={
        "used_bytes": "used 99999999999999",
        "utilization_ratio": "load 4000",
        "temperature_celsius": "temperature -300",
        "power_watts": "power 4294967295",
        "memory_bytes": "total 18446744073709551615",
    },
    hangs={"opening": "mtmlLibraryInit", "looking": "mtmlDeviceInitMemory", "measuring": "mtmlGpuGetUtilization"},
    recorded=Recorded(
        name="mthreads-gmi",
        prints={"": TABLE},
        device_ids=tuple(f"0000:{bus}:00.0" for bus in ("18", "3a", "4b", "5c", "9a", "ba", "ca", "da")),
        fewer={"": without_lines(TABLE, "00000000:da:00.0", after=2)},
        written=Written(cards=written, one={"": PARTS.one()}, device_id=address, used=0, total=81920, unit=2**20),
    ),
)
