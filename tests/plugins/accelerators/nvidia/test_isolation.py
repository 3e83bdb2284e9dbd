"""A broken NVML costs its own figures: the agent's table of plugins asks ours, on the made-up library."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from motorpool_agent.inventory import Patience, PluginStatus, PluginTable
from motorpool_sdk import Health
from tests.plugins.accelerators.nvidia.machine import FIRST, SECOND, FakeNvml, two_cards
from tests.plugins.made_plugins import write_plugin

PATIENCE = Patience(
    inventory_seconds=15.0,
    call_seconds=1.5,
    sample_seconds=1.0,
    refresh_seconds=30.0,
    first_backoff_seconds=0.01,
    most_backoff_seconds=0.02,
    failures_in_a_row=2,
)
HASTE = replace(PATIENCE, inventory_seconds=2.0)


@asynccontextmanager
async def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: Patience) -> AsyncIterator[PluginTable]:
    """NVIDIA and another vendor on one node."""
    folder = tmp_path / "others"
    write_plugin(folder, "others", kind="accelerator")
    monkeypatch.syspath_prepend(folder)
    opened = PluginTable(allow=["nvidia", "others"], block=(), notify=lambda: None, patience=patience)
    try:
        await opened.start()
        await opened.wait_ready()
        yield opened
    finally:
        await opened.close()


def nvidia(opened: PluginTable) -> PluginStatus:
    return next(status for status in opened.statuses() if status.provides == "nvidia")


async def test_the_agent_lists_measures_and_exposes(
    tmp_path: Path, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The library is found by LD_LIBRARY_PATH, and its cards are the node's devices.
    """
    nvml.show(two_cards())
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml.folder))
    async with table(tmp_path, monkeypatch, PATIENCE) as opened:
        samples = await opened.sample()

        assert {FIRST, SECOND, "GPU-0", "GPU-1"} == set(opened.devices()) == set(samples)
        assert Health.HEALTHY is opened.devices()[FIRST].health
        assert SECOND == (await opened.expose("nvidia", [SECOND])).env["CUDA_VISIBLE_DEVICES"]


async def test_the_manifests_folders_are_in_the_childs_environment(
    tmp_path: Path, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The plugin's process looks for the library in the manifest's folders, then in the agent's.
    """
    nvml.show(two_cards())
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml.folder))
    async with table(tmp_path, monkeypatch, PATIENCE):
        # Other tests' engines may have ended beside it, and nobody here waits for them.
        living = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
        (child,) = [each for each in living if "motorpool_nvidia" in each.cmdline()]
        folders = child.environ()["LD_LIBRARY_PATH"].split(":")

    assert ("/usr/lib/wsl/lib", str(nvml.folder)) == (folders[0], folders[-1])


@pytest.mark.promise("P5")
@pytest.mark.parametrize("fault", ["segfault", "hang"])
async def test_a_library_that_is_broken_from_the_start_holds_nobody_up(
    tmp_path: Path, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """
    A library that does not survive being loaded leaves the other vendor's devices, and an error that names it.
    """
    nvml.show(two_cards(), first=f"{fault} nvmlInitWithFlags\n")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml.folder))
    async with table(tmp_path, monkeypatch, HASTE) as opened:
        assert {"GPU-0", "GPU-1"} == set(opened.devices())
        assert "fingerprint" in nvidia(opened).last_error
