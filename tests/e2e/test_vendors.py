"""A node with cards of every vendor and a stranger's: what each shows is its own; what breaks in one stays there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from motorpool import v1
from motorpool_sdk.testing.vendor import ShownLibrary
from tests.e2e.environment import Environment
from tests.e2e.fleet import Fleet, wait_for
from tests.e2e.test_acme import acme_project
from tests.plugins.accelerators.vendors import VENDORS

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

Figures = Mapping[str, tuple[int | None, int | None]]


COUNT = 2
STRANGER = "acme"


class Rack:
    """A machine with two cards of every vendor, and one of a stranger's, whose figures a test sets."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self._acme = folder / "cards"
        self._libraries = {
            name: ShownLibrary(vendor, folder / name, vendor.compile(folder / "compiled" / name))
            for name, vendor in VENDORS.items()
        }
        self.path = os.pathsep.join(str(library.folder) for library in self._libraries.values())

    def show(self, used: int, broken: Mapping[str, str] | None = None) -> None:
        """Have each vendor's cards use this much, in its own unit; ``broken`` are lines of a vendor's library."""
        for name, library in self._libraries.items():
            library.show(VENDORS[name].cards(COUNT, used), (broken or {}).get(name, ""))
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
            figures |= vendor.figures(COUNT, used) if name not in without else {}
        return figures

    def wait(self, used: int, *without: str) -> None:
        """Wait until every vendor's figures but those of ``without`` are there, to the byte."""
        wanted = self.expected(used, *without)

        def there() -> bool:
            seen = self.seen()
            return wanted == {key: seen.get(key) for key in wanted}

        wait_for(f"{len(wanted)} cards to use {used}, and not {self.seen()}", there)

    def asked_beside(self, broken: str) -> Figures:
        """What the machine itself tells, asked beside its agent, of all vendors but one that does not work."""
        command = [*self.fleet.agent_command, "devices", "--output", "json"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        told = json.loads(done.stdout)
        assert (7, "") == (done.returncode, done.stderr)
        (failed,) = (each for each in told["plugins"] if each["last_error"])
        assert (broken, True) == (failed["plugin_id"], "SIGSEGV" in failed["last_error"])
        return {
            each["device_id"]: (each["memory_bytes"], each["usage"]["used_bytes"])
            for each in told["devices"]
            if each["vendor"] != broken
        }

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
        assert (COUNT if vendor else 1) == len(lines), shown
        assert all("HEALTHY" in line for line in lines), shown

    for used in (200, 300):
        before = rack.failures("ascend")
        rack.show(used, {"ascend": "segfault dcmi_get_device_utilization_rate\n"})
        wait_for("Ascend's library to die", lambda: rack.failures("ascend") > before)  # noqa: B023  # called at once
        rack.wait(used, "ascend")
        assert set(VENDORS["ascend"].figures(COUNT)) <= set(rack.seen())
        assert rack.expected(used, "ascend") == rack.asked_beside("ascend")

        rack.show(used + 50)
        rack.wait(used + 50)
