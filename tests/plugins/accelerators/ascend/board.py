"""Boards of Ascend chips as scenarios write them."""

from __future__ import annotations

from pathlib import Path

from motorpool_sdk.testing.vendor import Divided, MadeVendor, Recorded, Table, Written, without_lines

CHIP = """
chip {card} {chip}
logic {logic}
phy {phy}
name 910B3
bus {bus}
hbm 65536
hbm_used {used}
aicore 37
temperature 43
power 1018
"""
CONTROLLER = "chip {card} {chip}\nkind 1\n"
DRIVER = "driver 25.5.1\n"


def address(number: int) -> str:
    """The PCI address of the n-th card."""
    return f"0000:{0xC1 + number:02x}:00.0"


def card(number: int = 0, *lines: str, used: int = 3318, chips: int = 1) -> str:
    """A 910B3 card with its controller, and more lines on its last chip; physical ids begin at 4."""
    written = ""
    for chip in range(chips):
        logic = number * chips + chip
        written += CHIP.format(card=number, chip=chip, logic=logic, phy=logic + 4, bus=0xC1 + number, used=used)
    return written + "".join(f"{line}\n" for line in lines) + CONTROLLER.format(card=number, chip=chips)


def cards(count: int) -> str:
    """That many healthy cards."""
    return "".join(card(number) for number in range(count))


RECORDINGS = Path(__file__).parent / "recordings"
TABLE = (RECORDINGS / "info_910b3_24.1.rc1.txt").read_text(encoding="utf-8")
MAP = (RECORDINGS / "map_910b.txt").read_text(encoding="utf-8")
PARTS = Table.of(TABLE, "0000:C1:00.0", lines=3, cards=8, before=1)
MAP_PARTS = Table.of(MAP, "Ascend xxx", lines=2, cards=8)


def written(count: int) -> dict[str, str]:
    """What npu-smi prints of that many cards: its table, and its map of a chip and a controller each."""
    changes = (
        {
            "| 0     910B3": f"| {number:<6}910B3",
            "0000:C1:00.0": address(number).upper(),
            " 3318 /": f" {3318 + number} /",
        }
        for number in range(count)
    )
    mapped = (
        {
            f"{0:<31}{0:<31}{0:<31}Ascend": f"{number:<31}{0:<31}{number:<31}Ascend",
            f"{0:<31}{1:<31}-": f"{number:<31}{1:<31}-",
        }
        for number in range(count)
    )
    return {"info": PARTS.written(changes), "info -m": MAP_PARTS.written(mapped)}


NEWER = ("dcmi_get_card_list", "dcmi_get_device_chip_info_v2", "dcmi_get_device_ip", "dcmi_get_device_resource_info")
MADE = MadeVendor(
    name="ascend",
    package="motorpool_ascend",
    source=Path(__file__).with_name("fake_dcmi.c"),
    library="libdcmi.so",
    card=card,
    device_id=address,
    unit=2**20,
    total=65536,
    first=DRIVER,
    newer=NEWER,
    needed=("dcmi_init", "dcmiv2_init"),
    refusal=("init -8005", "dcmi_init: -8005"),
    unreadable="fault dcmi_get_device_logic_id -8008",
    untold=("fault all -8255",),
    absurd={
        "used_bytes": "hbm_used 99999999",
        "utilization_ratio": "aicore 4000",
        "temperature_celsius": "temperature 65535",
        "power_watts": "power 2147483647",
        "memory_bytes": "hbm 18446744073709551615",
    },
    hangs={
        "opening": "dcmi_init",
        "looking": "dcmi_get_device_hbm_info",
        "measuring": "dcmi_get_device_utilization_rate",
    },
    divided=Divided(
        lines=("vdev 164 vir10_3c_32g 32768 0", "vdev 165 vir05_1c_16g 16384 1"),
        parts={f"{address(0)}-vnpu164": (2**35, 0), f"{address(0)}-vnpu165": (2**34, None)},
    ),
    recorded=Recorded(
        name="npu-smi",
        prints={
            "info": TABLE,
            "info -m": MAP,
        },
        device_ids=tuple(f"0000:{bus}:00.0" for bus in ("c1", "c2", "81", "82", "01", "02", "41", "42")),
        fewer={"info": without_lines(TABLE, "0000:42:00.0", before=1)},
        written=Written(
            cards=written,
            one={"info": PARTS.one(), "info -m": MAP_PARTS.one()},
            device_id=address,
            used=3318,
            total=65536,
            unit=2**20,
        ),
    ),
)
