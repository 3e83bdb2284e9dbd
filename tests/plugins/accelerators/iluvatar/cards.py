"""Iluvatar cards as scenarios write them: those of NVIDIA's made-up library."""

from __future__ import annotations

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
