"""A node with cards of every vendor and a stranger's: what each shows is its own; what breaks in one stays there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.fleet import Fleet, wait_for
from tests.e2e.test_acme import Environment, acme_project
from tests.plugins.accelerators.amd import cards as amd
from tests.plugins.accelerators.ascend import board as ascend
from tests.plugins.accelerators.cambricon import cards as cambricon
from tests.plugins.accelerators.harness.machine import FakeLibrary, compile_library
from tests.plugins.accelerators.iluvatar import cards as iluvatar
from tests.plugins.accelerators.metax import cards as metax
from tests.plugins.accelerators.mthreads import cards as mthreads
from tests.plugins.accelerators.nvidia import machine as nvidia

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

SOURCES = Path(__file__).parents[1] / "plugins" / "accelerators"
KIB, MIB = 2**10, 2**20
Figures = Mapping[str, tuple[int | None, int | None]]


@dataclass(frozen=True, slots=True)
class Vendor:
    """A made-up library of two cards; ``used`` is in the vendor's own unit of so many bytes, as is ``total``."""

    source: str
    library: str
    ids: tuple[str, str]
    unit: int
    total: int
    card: Callable[[int, int], str]
    define: str = ""

    def scenario(self, used: int) -> str:
        return self.card(0, used) + self.card(1, used + 1)

    def figures(self, used: int) -> Figures:
        """What of total and used bytes is to be seen of each card."""
        return {
            device_id: (self.total * self.unit, (used + number) * self.unit)
            for number, device_id in enumerate(self.ids)
        }


def nvidia_card(index: int, used: int) -> str:
    return nvidia.card(VENDORS["nvidia"].ids[index], bus=f"00000000:{0xA0 + index:02X}:00.0", used=used)


VENDORS = {
    "nvidia": Vendor(
        *("nvidia/fake_nvml.c", "libnvidia-ml.so.1", (nvidia.FIRST, nvidia.SECOND), MIB, 81559 - 551, nvidia_card)
    ),
    "ascend": Vendor(
        *("ascend/fake_dcmi.c", "libdcmi.so", (ascend.address(0), ascend.address(1)), MIB, 65536),
        lambda index, used: ascend.card(index, used=used),
    ),
    "amd": Vendor(
        *("amd/fake_rocm_smi.c", "librocm_smi64.so.7", (amd.address(0), amd.address(1)), 1, 68702699520),
        lambda index, used: amd.card(index, used=used),
    ),
    "hygon": Vendor(
        *("amd/fake_rocm_smi.c", "librocm_smi64.so.2", ("0000:70:00.0", "0000:71:00.0"), 1, 68702699520),
        lambda index, used: amd.card(index, f"bus {0x70 + index}", used=used),
    ),
    "metax": Vendor(
        *("metax/fake_mxsml.c", "libmxsml.so", (metax.address(0), metax.address(1)), KIB, 67108864),
        lambda index, used: metax.card(index, used=used),
    ),
    "mthreads": Vendor(
        *("mthreads/fake_mtml.c", "libmtml.so.2", (mthreads.address(0), mthreads.address(1)), 1, 85899345920),
        lambda index, used: mthreads.card(index, used=used),
    ),
    "iluvatar": Vendor(
        *("nvidia/fake_nvml.c", "libixml.so", (iluvatar.address(0), iluvatar.address(1)), MIB, 32768),
        lambda index, used: iluvatar.card(index, used=used),
        "IXML",
    ),
    "cambricon": Vendor(
        *("cambricon/fake_cndev.c", "libcndev.so", (cambricon.address(0), cambricon.address(1)), MIB, 81920),
        lambda index, used: cambricon.card(index, used=used),
    ),
}
STRANGER = "acme"


class Rack:
    """A machine with two cards of every vendor, and one of a stranger's, whose figures a test sets."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self._acme = folder / "cards"
        self._libraries = {
            name: FakeLibrary(
                folder / name,
                compile_library(
                    SOURCES / vendor.source,
                    folder / "compiled" / name / vendor.library,
                    *([vendor.define] if vendor.define else []),
                ),
            )
            for name, vendor in VENDORS.items()
        }
        self.path = os.pathsep.join(str(library.folder) for library in self._libraries.values())

    def show(self, used: int, broken: Mapping[str, str] | None = None) -> None:
        """Have each vendor's cards use this much, in its own unit; ``broken`` are lines of a vendor's library."""
        for name, library in self._libraries.items():
            library.show(VENDORS[name].scenario(used), (broken or {}).get(name, ""))
        new = self._acme.with_suffix(".new")
        new.write_text(f"card ACME-1 Acme-One 34359738368 {used} 37 61\n")
        new.replace(self._acme)

    def seen(self) -> Figures:
        """What the controller has: total and used bytes of each card, None for what is unknown."""
        listed = self.fleet.nodes.ListDevices(v1.ListDevicesRequest(parent="nodes/a"), timeout=5).devices
        return {
            status.device.device_id: (
                status.device.memory.total_bytes if status.device.memory.HasField("total_bytes") else None,
                status.usage.used_bytes if status.usage.HasField("used_bytes") else None,
            )
            for status in listed
        }

    def expected(self, used: int, *without: str) -> Figures:
        """What is to be seen of all vendors but ``without``."""
        figures: dict[str, tuple[int | None, int | None]] = {"ACME-1": (34359738368, used)}
        for name, vendor in VENDORS.items():
            figures |= vendor.figures(used) if name not in without else {}
        return figures

    def wait(self, used: int, *without: str) -> None:
        """Wait until every vendor's figures but those of ``without`` are there, to the byte."""
        wanted = self.expected(used, *without)

        def there() -> bool:
            seen = self.seen()
            return wanted == {key: seen.get(key) for key in wanted}

        wait_for(f"{len(wanted)} cards to use {used}, and not {self.seen()}", there)

    def failures(self, plugin: str) -> int:
        node = self.fleet.nodes.GetNode(v1.GetNodeRequest(name="nodes/a"), timeout=5)
        return next(status.failures for status in node.plugins if status.plugin_id == plugin)


@pytest.fixture(name="rack")
def make_rack(tmp_path: Path, engines: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rack]:
    """A fleet whose agent finds nine vendors' cards, and a controller that wants a heartbeat a second."""
    (tmp_path / "fleet").mkdir()
    monkeypatch.setenv("MOTORPOOL_CONTROLLER_HEARTBEAT_SECONDS", "1")
    monkeypatch.setenv("ACME_CARDS", str(tmp_path / "cards"))
    environment = Environment(tmp_path / "environment")
    environment.make()
    fleet = Fleet(tmp_path / "fleet", engines)
    fleet.agent_command = environment.agent_command
    try:
        rack = Rack(fleet, tmp_path)
        monkeypatch.setenv("LD_LIBRARY_PATH", rack.path)
        environment.install(acme_project(tmp_path))
        fleet.start_controller()
        yield rack
    finally:
        fleet.close()


@pytest.mark.promise("P5")
def test_every_vendors_figures_are_its_own(rack: Rack) -> None:
    """
    Cards of eight vendors and a stranger show side by side, each to the byte, while the library of one dies at every
    measurement; when that passes, its figures are back.
    """
    rack.show(100)
    rack.fleet.start_agent()
    rack.wait(100)
    shown = rack.fleet.command("motorpool", "devices").stdout

    for name, vendor in {**VENDORS, STRANGER: None}.items():
        lines = [line for line in shown.splitlines() if f" {name} " in line]
        assert (2 if vendor else 1) == len(lines), shown
        assert all("HEALTHY" in line for line in lines), shown

    for used in (200, 300):
        before = rack.failures("ascend")
        rack.show(used, {"ascend": "segfault dcmi_get_device_utilization_rate\n"})
        wait_for("Ascend's library to die", lambda: rack.failures("ascend") > before)  # noqa: B023  # called at once
        rack.wait(used, "ascend")
        assert set(VENDORS["ascend"].ids) <= set(rack.seen())

        rack.show(used + 50)
        rack.wait(used + 50)
