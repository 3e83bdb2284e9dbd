"""A machine with NVIDIA cards of which only the library is made up, and the plugin in a process of its own on it."""

from __future__ import annotations

from pathlib import Path

from motorpool_sdk.testing.machine import FakeLibrary, PluginChild, PluginRaisedError, compile_library
from motorpool_sdk.testing.vendor import Divided, MadeVendor
from tests.plugins.accelerators.nvidia.smi import RECORDED

__all__ = ["FIRST", "SECOND", "FakeNvml", "NvidiaProcess", "PluginRaisedError", "card", "compile_nvml", "two_cards"]

SOURCE = Path(__file__).with_name("fake_nvml.c")
LIBRARY = "libnvidia-ml.so.1"

FIRST, SECOND = "GPU-11111111-1111-1111-1111-111111111111", "GPU-22222222-2222-2222-2222-222222222222"

CARD = """
card {uuid}
name NVIDIA H100 80GB HBM3
bus {bus}
total 81559
reserved 551
used {used}
util 37
temperature 43
power 71500
capability 9 0
architecture 9
"""


def card(uuid: str = FIRST, *lines: str, bus: str = "00000000:0A:00.0", used: int = 16) -> str:
    """A healthy card as a scenario writes it, and more lines on it; sizes in MiB."""
    return CARD.format(uuid=uuid, bus=bus, used=used) + "".join(f"{line}\n" for line in lines)


def two_cards() -> str:
    """Two healthy cards."""
    return card() + card(SECOND, bus="00000000:1B:00.0")


class FakeNvml(FakeLibrary):
    """A folder with the library and its scenario, which may be changed while the library is in use."""

    def show(self, scenario: str, first: str = "driver 580.95.05\ncuda 13000\n") -> None:
        """Have the library tell of this from its next call on."""
        super().show(scenario, first)


def compile_nvml(folder: Path, *defines: str) -> Path:
    """Compile the library; ``defines`` leave parts of it out."""
    return compile_library(SOURCE, folder / LIBRARY, *defines)


class NvidiaProcess(PluginChild):
    """The plugin in a process of its own, which finds the library in ``folders``; it has the plugin's methods."""

    def __init__(self, *folders: Path) -> None:
        super().__init__("motorpool_nvidia", *folders)


def uuid(index: int) -> str:
    """The UUID of the n-th of many cards."""
    return f"GPU-{index:08d}-1111-1111-1111-111111111111"


def numbered_card(index: int, *lines: str, used: int = 16) -> str:
    """The n-th of many cards, and more lines on it."""
    return card(uuid(index), *lines, bus=f"00000000:{0xA0 + index:02X}:00.0", used=used)


MADE = MadeVendor(
    name="nvidia",
    package="motorpool_nvidia",
    source=Path(__file__).with_name("fake_nvml.c"),
    library=LIBRARY,
    card=numbered_card,
    device_id=uuid,
    unit=2**20,
    total=81559 - 551,
    first="driver 580.95.05\ncuda 13000\n",
    needed=("nvmlInitWithFlags",),
    refusal=("init 18", "the driver's library and its kernel module have different versions"),
    unreadable="fault handle 15",
    untold=("fault all 3",),
    absurd={
        "used_bytes": "used 99999999",
        "utilization_ratio": "util 4000",
        "temperature_celsius": "temperature 65535",
        "power_watts": "power 4294967295",
        "memory_bytes": "total 0",
    },
    hangs={
        "opening": "nvmlInitWithFlags",
        "looking": "nvmlDeviceGetPciInfo_v3",
        "measuring": "nvmlDeviceGetUtilizationRates",
    },
    divided=Divided(
        lines=(
            *("mig 1", "partition MIG-a", "total 9984", "used 7", "gpu_instance 1"),
            *("partition MIG-b", "total 20096", "used 0", "gpu_instance 2"),
        ),
        parts={"MIG-a": (9984 * 2**20, 7 * 2**20), "MIG-b": (20096 * 2**20, 0)},
    ),
    recorded=RECORDED,
)
