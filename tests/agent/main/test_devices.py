"""`motorpool-agent devices`: a machine's devices without a controller, and how they were found."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from motorpool_sdk.testing.machine import FakeLibrary, compile_library
from tests.agent.test_main import run
from tests.plugins.accelerators.ascend import board as ascend
from tests.plugins.accelerators.nvidia import machine as nvidia
from tests.plugins.made_plugins import write_plugin

SOURCES = Path(__file__).parents[2] / "plugins" / "accelerators"
MIB = 2**20


@pytest.fixture(scope="module", name="compiled")
def make_compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The libraries of Ascend and NVIDIA."""
    folder = tmp_path_factory.mktemp("libraries")
    return (
        compile_library(SOURCES / "ascend" / "fake_dcmi.c", folder / "ascend" / "libdcmi.so"),
        compile_library(SOURCES / "nvidia" / "fake_nvml.c", folder / "nvidia" / "libnvidia-ml.so.1"),
    )


class Machine:
    """A machine with made-up libraries of Ascend and NVIDIA, and what the command says on it."""

    def __init__(self, folder: Path, compiled: tuple[Path, Path]) -> None:
        self.ascend = FakeLibrary(folder / "ascend", compiled[0])
        self.nvidia = FakeLibrary(folder / "nvidia", compiled[1])
        self._path = os.pathsep.join([str(self.ascend.folder), str(self.nvidia.folder)])

    async def devices(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run the command where only these two vendors are asked, unless told otherwise."""
        told = {"MOTORPOOL_ALLOW_PLUGINS": "ascend,nvidia", "LD_LIBRARY_PATH": self._path, **environment}
        return await run("devices", *arguments, **told)


@pytest.fixture(name="machine")
def make_machine(tmp_path: Path, compiled: tuple[Path, Path]) -> Machine:
    """Two cards of each vendor."""
    machine = Machine(tmp_path, compiled)
    machine.ascend.show(ascend.cards(2), ascend.DRIVER)
    machine.nvidia.show(nvidia.two_cards(), "driver 580.95.05\ncuda 13000\n")
    return machine


@pytest.mark.parametrize("output", ["json", "yaml"])
async def test_programs_get_every_figure(machine: Machine, output: str) -> None:
    """
    Devices, measurements and the libraries they came from are told in full, an unknown as null; all is well, so 0.
    """
    code, printed, errors = await machine.devices("-o", output)

    told = json.loads(printed) if output == "json" else yaml.safe_load(printed)
    assert (0, "") == (code, errors)
    assert {
        ascend.address(0): ("ascend", 65536 * MIB, 3318 * MIB, 0.37),
        ascend.address(1): ("ascend", 65536 * MIB, 3318 * MIB, 0.37),
        nvidia.FIRST: ("nvidia", (81559 - 551) * MIB, 16 * MIB, 0.37),
        nvidia.SECOND: ("nvidia", (81559 - 551) * MIB, 16 * MIB, 0.37),
    } == {
        each["device_id"]: (
            *(each["vendor"], each["memory_bytes"]),
            *(each["usage"]["used_bytes"], each["usage"]["utilization_ratio"]),
        )
        for each in told["devices"]
    }
    assert None is told["devices"][0]["numa_node"]
    sources = {plugin["plugin_id"]: plugin["sources"] for plugin in told["plugins"] if plugin["state"] == "ready"}
    assert {
        "ascend": str(machine.ascend.folder / "libdcmi.so"),
        "nvidia": str(machine.nvidia.folder / "libnvidia-ml.so.1"),
    } == {plugin: source["path"] for plugin, listed in sources.items() for source in listed if source["in_use"]}


async def test_people_get_a_line_each_and_how_it_was_found(machine: Machine) -> None:
    """
    Each device is a line; explained, each plugin says what showed its hardware and what answered.
    """
    code, printed, _ = await machine.devices("--explain")

    assert 0 == code
    (line,) = [line for line in printed.splitlines() if line.startswith(nvidia.FIRST)]
    assert ["nvidia", "0", "HEALTHY", "79.1", "GiB", "16", "MiB", "37%", "43", "°C"] == [
        word
        for word in line.split()
        if word in {"nvidia", "0", "HEALTHY", "79.1", "GiB", "16", "MiB", "37%", "43", "°C"}
    ]
    library = machine.ascend.folder / "libdcmi.so"
    for said in (
        f"ascend (motorpool-ascend {version('motorpool-ascend')}): ready, 2 devices",
        f"  found     library {library}",
        f"  in use    libdcmi.so at {library}",
        "  unused    npu-smi: another one answered before",
        f"amd (motorpool-amd {version('motorpool-amd')}): blocked by the agent's configuration",
    ):
        assert said in printed.splitlines() or any(each.startswith(said) for each in printed.splitlines()), printed


@pytest.mark.promise("P5")
async def test_what_fails_is_named_with_what_to_do(machine: Machine) -> None:
    """
    A driver that refuses leaves the other vendor's devices; the reasons name library and remedy, and the status is 7.
    """
    machine.ascend.show(ascend.cards(2), "segfault dcmi_init\n")
    (machine.nvidia.folder / "scenario").unlink()

    code, printed, _ = await machine.devices("--explain")

    assert 7 == code
    assert "no devices" in printed
    assert "its process was ended by SIGSEGV" in printed
    assert "NVML cannot be used: Driver Not Loaded: the kernel module nvidia is not loaded; run `modprobe" in printed
    assert "failed    libnvidia-ml.so.1: NVML cannot be used" in printed


async def test_an_unhealthy_card_says_why(machine: Machine) -> None:
    """
    A card with errors is listed with its reason, also without --explain, and the status is 7.
    """
    machine.nvidia.show(nvidia.card(nvidia.FIRST, "ecc 2") + nvidia.card(nvidia.SECOND))

    code, printed, _ = await machine.devices()

    assert 7 == code
    assert any(line.startswith(f"{nvidia.FIRST}: 2 uncorrectable ECC errors") for line in printed.splitlines()), printed
    assert "devices --explain" in printed


async def test_a_machine_without_hardware_is_sound(tmp_path: Path) -> None:
    """
    Nothing to find is nothing wrong: the status is 0, and explained it says what was looked for.
    """
    write_plugin(tmp_path, "cards", kind="accelerator", extra='device_nodes = ["/dev/motorpool-has-none*"]\n')
    told = {"MOTORPOOL_ALLOW_PLUGINS": "cards", "PYTHONPATH": str(tmp_path)}

    code, printed, errors = await run("devices", "--explain", **told)

    assert (0, "") == (code, errors)
    assert "no devices: models can still run on this machine's processors" in printed
    assert "cards (made-cards 1.2): none of its hardware is here\n  looked    /dev/motorpool-has-none*" in printed


async def test_what_a_plugin_says_moves_no_cursor(tmp_path: Path) -> None:
    """
    Control characters in a plugin's words are shown, not sent to the terminal.
    """
    write_plugin(
        tmp_path,
        "cards",
        kind="accelerator",
        code=r"""
        def fingerprint(self):
            raise RuntimeError("gone \x1b[2J away")
        Accelerator.fingerprint = fingerprint
        """,
    )
    code, printed, _ = await run("devices", MOTORPOOL_ALLOW_PLUGINS="cards", PYTHONPATH=str(tmp_path))

    assert (7, True, False) == (code, r"gone \x1b[2J away" in printed, "\x1b" in printed)


async def test_a_format_that_there_is_not_is_a_usage_error() -> None:
    """
    The message lists those that there are, and the status is 2.
    """
    code, _, errors = await run("devices", "--output", "xml")

    assert (2, True) == (code, "give text, json or yaml" in errors)
