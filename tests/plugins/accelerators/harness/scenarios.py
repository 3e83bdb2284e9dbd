"""What every vendor's plugin must stand in an agent, beyond the SDK's scenarios."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from motorpool_agent.inventory import Patience, PluginState, PluginStatus, PluginTable
from motorpool_sdk import Health
from motorpool_sdk.testing.scenarios import Scenarios
from motorpool_sdk.testing.vendor import ShownLibrary
from tests.plugins.made_plugins import write_plugin

PATIENCE = Patience(
    inventory_seconds=20.0,
    call_seconds=1.5,
    sample_seconds=1.0,
    refresh_seconds=60.0,
    first_backoff_seconds=0.01,
    most_backoff_seconds=0.02,
    failures_in_a_row=2,
)


class AgentScenarios(Scenarios):
    """The scenarios, and an agent that asks this vendor's plugin and another's."""

    @pytest.mark.slow
    @pytest.mark.parametrize("fault", ["segfault", "hang"])
    @pytest.mark.promise("P5")
    async def test_broken_in_an_agent(
        self, library: ShownLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
    ) -> None:
        """
        A library that breaks while it is used is given up at last: its cards stay listed and nothing is known of them,
        while another vendor's figures go on arriving.
        """
        library.show(self.vendor.cards(2))
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library.folder))
        monkeypatch.setenv("PATH", f"{tmp_path}/no-commands:/usr/bin:/bin")
        ours, others = {self.vendor.device_id(0), self.vendor.device_id(1)}, {"GPU-0", "GPU-1"}
        async with table(tmp_path, monkeypatch, self.vendor.name) as opened:
            assert ours | others == set(await opened.sample())
            before = opened.devices()[self.vendor.device_id(0)]
            library.show(self.vendor.cards(2), f"{fault} {self.vendor.hangs['measuring']}\n")
            async with asyncio.timeout(90):
                while status(opened, self.vendor.name).state is not PluginState.QUARANTINED:
                    assert others <= set(await opened.sample())

            assert others == set(await opened.sample())
            lost = opened.devices()[self.vendor.device_id(0)]
            assert ours <= set(opened.devices())
            assert (Health.UNKNOWN, None, before.product) == (lost.health, lost.memory_bytes, lost.product)
            said = "SIGSEGV" if fault == "segfault" else "did not answer"
            assert said in status(opened, self.vendor.name).last_error
            assert Health.HEALTHY is opened.devices()["GPU-0"].health


def status(opened: PluginTable, vendor: str) -> PluginStatus:
    """Return what became of a vendor's plugin."""
    return next(each for each in opened.statuses() if each.provides == vendor)


@asynccontextmanager
async def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: str) -> AsyncIterator[PluginTable]:
    """Open a table of this vendor and another one."""
    folder = tmp_path / "others"
    write_plugin(folder, "others", kind="accelerator")
    monkeypatch.syspath_prepend(folder)
    opened = PluginTable(allow=[vendor, "others"], block=(), notify=lambda: None, patience=PATIENCE)
    try:
        await opened.start()
        await opened.wait_ready()
        yield opened
    finally:
        await opened.close()
