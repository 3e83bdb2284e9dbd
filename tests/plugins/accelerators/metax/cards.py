"""MetaX cards as scenarios write them."""

from __future__ import annotations

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
