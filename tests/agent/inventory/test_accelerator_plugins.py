"""Devices and measurements of vendors' plugins."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.inventory import PluginError, PluginState
from motorpool_sdk import Health
from tests.agent.inventory.asking import until
from tests.agent.inventory.conftest import PATIENCE, OpenTable
from tests.plugins.made_plugins import MakePlugin


async def test_devices_are_listed_with_their_health(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    A vendor's devices are there once the table is ready.
    """
    make_plugin("cards", kind="accelerator")
    table = await open_table("cards")

    assert {"GPU-0": 0, "GPU-1": 1} == {key: device.index for key, device in table.devices().items()}
    assert {Health.HEALTHY} == {device.health for device in table.devices().values()}
    assert {} == table.usage()


async def test_devices_are_measured_on_demand(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    A sample measures every device, and stays known.
    """
    make_plugin("cards", kind="accelerator")
    table = await open_table("cards")

    samples = await table.sample()

    assert {"GPU-0": 2**30, "GPU-1": 2**30} == {key: sample.used_bytes for key, sample in samples.items()}
    assert samples == table.usage()


async def test_devices_are_handed_over(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    Exposure comes from the vendor's plugin; an unknown vendor is named.
    """
    make_plugin("cards", kind="accelerator")
    table = await open_table("cards")

    assert {"VISIBLE": "GPU-1"} == (await table.expose("cards", ["GPU-1"])).env
    with pytest.raises(PluginError, match="serves accelerator acme"):
        await table.expose("acme", [])


@pytest.mark.promise("P5")
async def test_one_bad_card_loses_one_card(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    A card that cannot be read, one with an impossible size and one with another's id cost only themselves.
    """
    make_plugin(
        "cards",
        kind="accelerator",
        code="""
        plain = Accelerator.fingerprint
        def fingerprint(self):
            good, other = plain(self)
            from dataclasses import replace
            return [
                good,
                DeviceError(device_id="GPU-7", message="fell off the bus"),
                replace(other, memory_bytes=2**70),
                replace(good, index=5),
            ]
        Accelerator.fingerprint = fingerprint
        """,
    )
    table = await open_table("cards")

    assert {"GPU-0": 0} == {key: device.index for key, device in table.devices().items()}
    (status,) = [each for each in table.statuses() if each.plugin_id == "cards"]
    assert PluginState.READY is status.state
    for fault in ("GPU-7: fell off the bus", "GPU-1: memory_bytes is", "GPU-0: its device_id is another device's"):
        assert fault in status.last_error


@pytest.mark.promise("P5")
async def test_a_card_that_fails_later_stays_listed(
    make_plugin: MakePlugin, open_table: OpenTable, tmp_path: Path
) -> None:
    """
    A device that was there and cannot be read any more is listed with unknown health and memory.
    """
    broken = tmp_path / "broken"
    make_plugin(
        "cards",
        kind="accelerator",
        code=f"""
        import os
        plain = Accelerator.fingerprint
        def fingerprint(self):
            first, second = plain(self)
            if os.path.exists({str(broken)!r}):
                return [first, DeviceError(device_id=second.device_id, message="fell off the bus")]
            return [first, second]
        Accelerator.fingerprint = fingerprint
        """,
    )
    table = await open_table("cards")
    broken.touch()

    await table.refresh()

    lost = table.devices()["GPU-1"]
    assert (Health.UNKNOWN, ("fell off the bus",), None) == (lost.health, lost.health_reasons, lost.memory_bytes)
    assert Health.HEALTHY is table.devices()["GPU-0"].health


@pytest.mark.promise("P5")
async def test_a_hanging_vendor_delays_no_other(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    While one vendor's measurement hangs, another's comes in time, and the hanging one has none.
    """
    make_plugin(
        "stuck",
        kind="accelerator",
        code="""
        import time
        plain = Accelerator.fingerprint
        def fingerprint(self):
            from dataclasses import replace
            return [replace(device, device_id="stuck-" + device.device_id) for device in plain(self)]
        Accelerator.fingerprint = fingerprint
        Accelerator.sample = lambda self, device_ids: time.sleep(3600)
        """,
    )
    make_plugin("cards", kind="accelerator")
    table = await open_table("cards", "stuck", patience=replace(PATIENCE, call_seconds=60.0, sample_seconds=0.5))

    async with asyncio.timeout(10):
        samples = await table.sample()

    assert {"GPU-0", "GPU-1"} == set(samples)
    assert 4 == len(table.devices())


@pytest.mark.promise("P5")
async def test_devices_of_a_quarantined_vendor_stay_listed(
    make_plugin: MakePlugin, open_table: OpenTable, tmp_path: Path
) -> None:
    """
    A vendor whose code crashes again and again keeps its devices, of which nothing is known any more.
    """
    make_plugin(
        "cards",
        kind="accelerator",
        code="import os\nAccelerator.sample = lambda self, device_ids: os._exit(5)",
    )
    table = await open_table("cards", patience=replace(PATIENCE, failures_in_a_row=2))

    async def failing() -> None:
        while next(each for each in table.statuses() if each.plugin_id == "cards").state is not (
            PluginState.QUARANTINED
        ):
            await table.sample()

    async with asyncio.timeout(20):
        await failing()

    assert {} == table.usage()
    assert {"GPU-0", "GPU-1"} == set(table.devices())
    for device in table.devices().values():
        assert (Health.UNKNOWN, None) == (device.health, device.memory_bytes)
        assert "exited with status 5" in device.health_reasons[0]


async def test_an_absent_vendor_has_no_process(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    A plugin whose hardware is not in the machine is found, and none of its code runs.
    """
    make_plugin("cards", kind="accelerator", extra='device_nodes = ["/dev/motorpool-has-no-such-card*"]\n')
    table = await open_table("cards")

    (status,) = [each for each in table.statuses() if each.plugin_id == "cards"]
    assert PluginState.FOUND is status.state
    assert table._entries["cards"].process.pid is None
    assert {} == await table.sample()


async def test_a_vendor_is_asked_again_by_itself(
    make_plugin: MakePlugin, open_table: OpenTable, tmp_path: Path
) -> None:
    """
    A device that appears later is found without anybody's asking.
    """
    plugged = tmp_path / "plugged"
    make_plugin(
        "cards",
        kind="accelerator",
        code=f"""
        import os
        plain = Accelerator.fingerprint
        Accelerator.fingerprint = lambda self: plain(self)[: 2 if os.path.exists({str(plugged)!r}) else 1]
        """,
    )
    table = await open_table("cards", patience=replace(PATIENCE, refresh_seconds=0.05))
    assert {"GPU-0"} == set(table.devices())

    plugged.touch()

    await until(lambda: {"GPU-0", "GPU-1"} == set(table.devices()))
