"""A stranger's accelerator, installed with pip: its cards appear, and whatever breaks in it costs its own figures."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from examples.demo.model import fetch
from motorpool import v1
from motorpool_cli.text import size
from motorpool_sdk.kit.project import write_project
from motorpool_sdk.manifest import Kind
from tests.e2e.chat import ask
from tests.e2e.conftest import ROOT
from tests.e2e.environment import Environment, run
from tests.e2e.fleet import Fleet, wait_for
from tests.e2e.llama_server import VERSION, environment_of, install_llama_server

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

FULL = 34359738368 - 64 * 2**20  # but for 64 MiB
ACME = ROOT / "examples" / "plugins" / "motorpool-acme"
CARD = "card {card} Acme-One 34359738368 {used} 37 61\n"
# The pointer is volatile too: a compiler may drop a store that it knows to fail.
DIES_WHEN_LOADED = "__attribute__((constructor)) static void die(void) { volatile int *volatile p = 0; *p = 1; }\n"


def compile_library(target: Path, source: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    run("gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", target, source)


def acme_project(folder: Path) -> Path:
    """A copy of the example whose manifest names the test's folder in place of /opt/acme/lib."""
    project = folder / "motorpool-acme"
    shutil.copytree(ACME, project, ignore=shutil.ignore_patterns("__pycache__", ".*", "build", "dist"))
    manifest = project / "motorpool_acme" / "plugin.toml"
    manifest.write_text(manifest.read_text().replace("/opt/acme/lib", str(folder / "lib")))
    compile_library(folder / "lib" / "libacme.so.1", project / "libacme" / "acme.c")
    return project


def bolt_project(folder: Path) -> Path:
    """Another vendor's plugin, as the kit wrote it, and the tool it asks."""
    tool = folder / "bin" / "bolt-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\nexec cat {folder / 'bolt'}\n")
    tool.chmod(0o755)
    return write_project(Kind.ACCELERATOR, "bolt", folder)


def broken_projects(folder: Path) -> list[Path]:
    """Wheels whose import fails, whose import loads a library that dies, and which want another SDK."""
    ember, hail, frost = (write_project(Kind.ACCELERATOR, name, folder) for name in ("ember", "hail", "frost"))
    source = folder / "hail.c"
    source.write_text(DIES_WHEN_LOADED)
    compile_library(folder / "lib" / "libhail.so", source)
    for project, line in (
        (ember / "motorpool_ember", "import ember_runtime"),
        (hail / "motorpool_hail", f"import ctypes; ctypes.CDLL({str(folder / 'lib' / 'libhail.so')!r})"),
    ):
        code = (project / "__init__.py").read_text()
        (project / "__init__.py").write_text(code.replace("from motorpool_sdk", f"{line}\nfrom motorpool_sdk", 1))
    manifest = frost / "motorpool_frost" / "plugin.toml"
    manifest.write_text(manifest.read_text().replace(">=0.1,<0.2", ">=9"))
    return [ember, hail, frost]


@dataclass(frozen=True, slots=True)
class Cards:
    """What the two drivers show, and what the controller has of it."""

    folder: Path
    fleet: Fleet
    environment: Environment

    def acme(self, used_bytes: int, fault: str = "") -> None:
        self._write("cards", CARD.format(card="ACME-1", used=used_bytes) + fault)

    def two_acmes(self, first_used_bytes: int, second_used_bytes: int) -> None:
        used = {"ACME-1": first_used_bytes, "ACME-2": second_used_bytes}
        self._write("cards", "".join(CARD.format(card=card, used=each) for card, each in used.items()))

    def bolt(self, used_bytes: int) -> None:
        self._write("bolt", f"BOLT-1, Bolt One, 17179869184, {used_bytes}, 5\n")

    def used(self, device: str) -> int | None:
        listed = self.fleet.nodes.ListDevices(v1.ListDevicesRequest(parent="nodes/a"), timeout=5).devices
        usage = next((status.usage for status in listed if status.device.device_id == device), v1.DeviceUsage())
        return usage.used_bytes if usage.HasField("used_bytes") else None

    def claimed(self, device: str) -> int:
        listed = self.fleet.nodes.ListDevices(v1.ListDevicesRequest(parent="nodes/a"), timeout=5).devices
        return next(status.claimed_bytes for status in listed if status.device.device_id == device)

    def plugin(self, name: str) -> v1.PluginStatus:
        node = self.fleet.nodes.GetNode(v1.GetNodeRequest(name="nodes/a"), timeout=5)
        return next(plugin for plugin in node.plugins if plugin.plugin_id == name)

    def wait_used(self, device: str, used_bytes: int) -> float:
        """Wait until the controller has this figure, and return the seconds it took."""
        began = time.monotonic()
        wait_for(f"{device} to use {used_bytes}", lambda: self.used(device) == used_bytes)
        return time.monotonic() - began

    def wait_plugin(self, name: str, good: Callable[[v1.PluginStatus], bool]) -> v1.PluginStatus:
        return wait_for(f"plugin {name}", lambda: status if good(status := self.plugin(name)) else None)

    def _write(self, name: str, content: str) -> None:
        # At once: a driver that reads half a file would be another fault than the one that is tested.
        (self.folder / f"{name}.new").write_text(content)
        (self.folder / f"{name}.new").rename(self.folder / name)


@pytest.fixture(name="cards")
def make_cards(tmp_path: Path, engines: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cards]:
    """A fleet whose agent has an environment of its own, and a controller that wants a heartbeat a second."""
    (tmp_path / "fleet").mkdir()
    monkeypatch.setenv("MOTORPOOL_CONTROLLER_HEARTBEAT_SECONDS", "1")
    monkeypatch.setenv("ACME_CARDS", str(tmp_path / "cards"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    environment = Environment(tmp_path / "environment")
    environment.make()
    fleet = Fleet(tmp_path / "fleet", engines)
    fleet.agent_command = environment.agent_command
    try:
        fleet.start_controller()
        yield Cards(tmp_path, fleet, environment)
    finally:
        fleet.close()


def test_a_strangers_card_takes_part(cards: Cards) -> None:
    """
    A wheel that Motorpool has never seen, installed with pip, passes `motorpool-sdk verify` and shows in `devices`.
    """
    project = acme_project(cards.folder)
    cards.environment.install(project)
    cards.acme(2**30)

    scenarios = ("--scenarios", project / "tests" / "test_scenarios.py")
    verified = run(cards.environment.python, "-m", "motorpool_sdk.kit", "verify", "acme", *scenarios)
    cards.fleet.start_agent()
    cards.wait_used("ACME-1", 2**30)
    shown = cards.fleet.command("motorpool", "devices").stdout
    plugins = cards.fleet.command("motorpool", "plugins").stdout

    assert "1: ACME-1 Acme-One 32.0 GiB" in verified
    assert "acme                  ok      scenario: so many cards 16" in verified
    assert ["a", "ACME-1", "acme", "Acme-One", "0", "HEALTHY", "32", "GiB"] == shown.splitlines()[1].split()[:8]
    assert "motorpool-acme 1.0" in plugins
    cards.acme(3 * 2**30)
    cards.wait_used("ACME-1", 3 * 2**30)


@pytest.mark.promise("P2")
def test_a_model_runs_on_a_strangers_card(cards: Cards, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A language model is placed on the stranger's card that has room, its engine sees that card by the stranger's own
    variable and answers, and the claim stands on the card: by the wheel and the vendor's engine alone.
    """
    cards.environment.install(acme_project(cards.folder))
    cards.two_acmes(FULL, 0)
    fleet = cards.fleet
    monkeypatch.setenv("MOTORPOOL_LLAMA_SERVER", str(install_llama_server(fleet, "ACME0", "ACME_VISIBLE_CARDS")))
    fleet.start_agent()
    cards.wait_used("ACME-1", FULL)

    model = fetch(ROOT / ".cache" / "models")
    fleet.command("motorpool", "deploy", "smol", "--model", str(model), "--wait")
    running = fleet.wait_state("smol", v1.INSTANCE_STATE_RUNNING)

    assert ask(fleet.credentials("smol"))
    [member] = running.placement.members
    [claim] = member.claim.devices
    assert ("acme", VERSION, "ACME-2") == (
        running.placement.framework,
        running.placement.backend_version,
        claim.device_id,
    )
    assert "ACME-2" == environment_of(running.pid)["ACME_VISIBLE_CARDS"] == running.launch.env["ACME_VISIBLE_CARDS"]
    assert (0, claim.memory_bytes) == (cards.claimed("ACME-1"), cards.claimed("ACME-2"))
    described = fleet.command("motorpool", "describe", running.name).stdout
    explained = fleet.command("motorpool", "explain", "smol").stdout
    listed = fleet.command("motorpool", "devices").stdout
    assert f"{VERSION} on acme" in described
    assert "It was placed on nodes/a (ACME-2)" in explained
    assert "ACME-1" in next(line for line in explained.splitlines() if "MEMORY_SHORT" in line)
    claimed = size(claim.memory_bytes)
    assert f"ACME-2 ({claimed})" in described
    assert claimed in next(line for line in listed.splitlines() if "ACME-2" in line)

    fleet.delete("smol")
    wait_for("the claim to be gone", lambda: cards.claimed("ACME-2") == 0)


@pytest.mark.parametrize("member", ["agent", "cli", "controller", "formats", "plugins", "proto", "telemetry"])
def test_nothing_of_ours_knows_the_stranger(member: str) -> None:
    """
    No program of ours names the stranger: only documentation does, as an example.
    """
    named = [path for path in (ROOT / member).rglob("*.py") if "acme" in path.read_text(encoding="utf-8").lower()]

    assert [] == named


@pytest.mark.promise("P5")
def test_what_breaks_in_a_vendors_library_costs_that_vendors_figures(cards: Cards) -> None:
    """
    While a C library segfaults, hangs, prints without end or leaks descriptors, and other wheels cannot be imported,
    another vendor's figures arrive as before; a fault that passes is forgotten.
    """
    projects = [acme_project(cards.folder), bolt_project(cards.folder), *broken_projects(cards.folder)]
    cards.environment.install(*projects)
    cards.acme(1)
    cards.bolt(1)
    agent = cards.fleet.start_agent()
    cards.wait_used("ACME-1", 1)
    cards.wait_used("BOLT-1", 1)

    # Of a wheel that cannot be used, what is wrong is told, and nothing else happens.
    cards.wait_plugin("ember", lambda plugin: "No module named 'ember_runtime'" in plugin.last_error)
    cards.wait_plugin("hail", lambda plugin: "SIGSEGV" in plugin.last_error)
    frost = cards.plugin("frost")
    assert v1.PLUGIN_STATE_INCOMPATIBLE == frost.state
    assert "wants SDK >=9" in frost.last_error

    descriptors = psutil.Process(agent.pid).num_fds()
    for number, (fault, told) in enumerate(
        (
            ("fault usage segfault", "SIGSEGV"),
            ("fault usage hang", "did not answer"),
            ("fault usage babble", "did not answer"),
            ("fault usage leak", "descriptors open"),  # it answers all the same, and is started anew each time
        ),
        start=2,
    ):
        before = cards.plugin("acme").failures
        cards.acme(number, fault)
        hurt = cards.wait_plugin("acme", lambda plugin, before=before: plugin.failures > before)  # type: ignore[misc]
        assert told in hurt.last_error
        for change in range(3):
            cards.bolt(number * 100 + change)
            seconds = cards.wait_used("BOLT-1", number * 100 + change)
            print(f"{fault}: the other vendor's figure {change} arrived after {seconds:.2f} s")
        if "leak" not in fault:
            assert number != cards.used("ACME-1")
        cards.acme(number)
        cards.wait_used("ACME-1", number)

    assert agent.running()
    assert v1.PLUGIN_STATE_READY == cards.plugin("bolt").state
    assert abs(psutil.Process(agent.pid).num_fds() - descriptors) < 20
    assert agent.log.stat().st_size < 2**20
