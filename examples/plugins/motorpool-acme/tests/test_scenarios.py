"""Acme made up, and what every vendor's plugin must stand on that: here, and by `verify --scenarios` on any machine."""

from pathlib import Path

from motorpool_sdk.testing.scenarios import Scenarios
from motorpool_sdk.testing.vendor import MadeVendor


def card(number: int, *lines: str, used: int = 100) -> str:
    """A card in the words of fake_acme.c, and more lines on it."""
    figures = ("product Acme-One", "total 34359738368", f"used {used}", "busy 37", "celsius 61")
    return "".join(f"{line}\n" for line in (f"card {uuid(number)}", *figures, *lines))


def uuid(number: int) -> str:
    """The id of the n-th card."""
    return f"ACME-{number}"


MADE = MadeVendor(
    name="acme",
    package="motorpool_acme",
    source=Path(__file__).with_name("fake_acme.c"),
    library="libacme.so.1",
    card=card,
    device_id=uuid,
    unit=1,
    total=34359738368,
    needed=("acme_count",),
    refusal=("count -19", "acme_count of libacme.so.1 failed with -19"),
    unreadable="fault acme_card -5",
    untold=("fault acme_usage -5",),
    absurd={
        "used_bytes": "used 99999999999999",
        "utilization_ratio": "busy 4000",
        "temperature_celsius": "celsius 65535",
        "memory_bytes": "total 9999999999999999999",
    },
    hangs={"opening": "acme_count", "looking": "acme_card", "measuring": "acme_usage"},
)


class TestAcme(Scenarios):
    """0, 1, 8 and 16 cards, one bad card, missing symbols, calls that fail, absurd figures, a card that vanishes."""

    vendor = MADE
