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
    assert {"GPU-1": samples["GPU-1"]} == await table.measured({"GPU-1", "GPU-9"})
    assert {} == await table.measured({"GPU-9"})


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


async def test_a_vendor_is_measured_within_its_share_of_the_time(
    make_plugin: MakePlugin, open_table: OpenTable, tmp_path: Path
) -> None:
    """
    A measurement that cost more than is in hand is not repeated until its share of the time has paid for it; meanwhile
    the last one stands.
    """
    asked = tmp_path / "asked"
    make_plugin(
        "cards",
        kind="accelerator",
        code=f"""
        import time
        plain = Accelerator.sample
        def sample(self, device_ids):
            with open({str(asked)!r}, "a") as file:
                file.write("x")
            time.sleep(0.2)
            return plain(self, device_ids)
        Accelerator.sample = sample
        """,
    )
    table = await open_table("cards", patience=replace(PATIENCE, share=0.001, in_hand_seconds=0.1))

    first = await table.sample()
    for _ in range(5):
        assert first == await table.sample()

    assert {"GPU-0", "GPU-1"} == set(first)
    assert "x" == asked.read_text()


async def test_what_a_plugins_process_holds_is_told(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    Memory and descriptors of the process are the kernel's figures, and how long its last measurement took is known.
    """
    make_plugin("cards", kind="accelerator")
    table = await open_table("cards")
    (before,) = table.processes()
    await table.sample()

    (after,) = table.processes()

    assert ("cards", before.pid, None) == (after.plugin_id, after.pid, before.sample_seconds)
    assert after.resident_bytes is not None
    assert 2**20 < after.resident_bytes < 2**30
    assert after.open_files is not None
    assert 3 <= after.open_files < 50
    assert after.sample_seconds is not None
    assert 0 < after.sample_seconds


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("leak", "limit", "said"),
    [
        ("kept.append([open('/dev/null') for _ in range(300)])", {"most_open_files": 200}, "descriptors open"),
        ("kept.append(b'x' * (200 << 20))", {"most_resident_bytes": 150 << 20}, "more than 150 MiB"),
    ],
)
async def test_a_plugin_that_leaks_is_started_anew(
    make_plugin: MakePlugin, open_table: OpenTable, leak: str, limit: dict[str, int], said: str
) -> None:
    """
    A process that holds too much ends between two calls; its cards stay known, and it is said why.
    """
    make_plugin(
        "cards",
        kind="accelerator",
        code=f"""
        kept = []
        plain = Accelerator.sample
        def sample(self, device_ids):
            {leak}
            return plain(self, device_ids)
        Accelerator.sample = sample
        """,
    )
    table = await open_table("cards", patience=replace(PATIENCE, **limit))
    (before,) = table.processes()

    await table.sample()
    await until(lambda: not table.processes())
    samples = table.usage()
    await table.refresh()

    (after,) = table.processes()
    (status,) = [each for each in table.statuses() if each.plugin_id == "cards"]
    assert before.pid != after.pid
    assert {"GPU-0", "GPU-1"} == set(samples) == set(table.devices())
    assert (PluginState.READY, 1, True) == (status.state, status.failures, said in status.last_error)
    assert {Health.HEALTHY} == {device.health for device in table.devices().values()}


@pytest.mark.promise("P2")
async def test_two_plugins_that_list_one_device_count_it_once(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    Another vendor's plugin that lists the same ids leaves them to the first by name, with their measurements, and says
    so; what it alone lists is its own.
    """
    make_plugin("cards", kind="accelerator")
    make_plugin(
        "doubles",
        kind="accelerator",
        code="""
        plain = Accelerator.fingerprint
        def fingerprint(self):
            from dataclasses import replace
            first, second = plain(self)
            return [first, replace(second, device_id="GPU-9")]
        Accelerator.fingerprint = fingerprint
        Accelerator.sample = lambda self, device_ids: [Sample(device_id=each, used_bytes=7) for each in device_ids]
        """,
    )
    table = await open_table("cards", "doubles")

    samples = await table.sample()

    assert {"GPU-0": "cards", "GPU-1": "cards", "GPU-9": "doubles"} == {
        key: device.vendor for key, device in table.devices().items()
    }
    assert {"GPU-0": 2**30, "GPU-1": 2**30, "GPU-9": 7} == {key: each.used_bytes for key, each in samples.items()}
    remarks = {each.plugin_id: each.last_error for each in table.statuses() if each.state is PluginState.READY}
    assert ("", True) == (remarks["cards"], "GPU-0 (cards)" in remarks["doubles"])
