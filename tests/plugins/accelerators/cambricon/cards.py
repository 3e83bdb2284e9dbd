"""Cambricon cards as scenarios write them."""

from __future__ import annotations

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
