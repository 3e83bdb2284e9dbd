"""Moore Threads cards as scenarios write them."""

from __future__ import annotations

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
