"""Boards of Ascend chips as scenarios write them."""

from __future__ import annotations

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
