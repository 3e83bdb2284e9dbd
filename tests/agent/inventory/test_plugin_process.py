"""How a plugin's process lives: what it sees, when it ends."""

import asyncio
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from motorpool_agent.inventory import PluginState, PluginTable
from tests.agent.inventory.asking import launch_request, until
from tests.agent.inventory.conftest import PATIENCE, OpenTable
from tests.plugins.made_plugins import MakePlugin

DUMP = """
import json, os
from motorpool_sdk import Finding, Severity
Backend.check = lambda self, request: [
    Finding(severity=Severity.NOTE, reason="ENV", message=json.dumps(dict(os.environ)))
]
"""

AGENT = """
import asyncio, sys
from pathlib import Path
from motorpool_agent.inventory import PluginTable
from motorpool_sdk import LaunchRequest
from tests.agent.inventory.asking import launch_request

async def main():
    table = PluginTable(allow=["stuck"], block=[], notify=lambda: None)
    await table.start()
    await table.wait_ready()
    print(table._entries["stuck"].process.pid, flush=True)
    await table.launch("stuck", launch_request())

asyncio.run(main())
"""


def pid(table: PluginTable, plugin: str) -> int | None:
    return table._entries[plugin].process.pid


async def test_an_idle_backend_has_no_process(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    A backend's process is retired when nobody asks it anything, keeps its profile, and is started again when asked.
    """
    make_plugin("good")
    table = await open_table("good", patience=replace(PATIENCE, idle_seconds=0.01))

    await until(lambda: pid(table, "good") is None)
    assert ["good"] == list(table.profiles())
    assert ("/bin/true", "4001") == (await table.launch("good", launch_request())).argv
    (status,) = [each for each in table.statuses() if each.plugin_id == "good"]
    assert (PluginState.READY, 0) == (status.state, status.failures)


async def test_one_process_serves_many_calls(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    Calls in a row are answered by the same process.
    """
    make_plugin("good")
    table = await open_table("good")
    first = pid(table, "good")

    await table.check("good", launch_request())
    await table.launch("good", launch_request())

    assert first is not None
    assert first == pid(table, "good")


@pytest.mark.promise("P5")
async def test_a_process_that_dies_while_idle_is_replaced(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    A plugin's process that somebody kills is counted, and the plugin is ready again by itself.
    """
    make_plugin("good")
    table = await open_table("good")
    psutil.Process(pid(table, "good")).kill()

    def replaced() -> bool:
        (status,) = [each for each in table.statuses() if each.plugin_id == "good"]
        return (PluginState.READY, 1) == (status.state, status.failures)

    await until(replaced)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # it has ended, and may wait to be reaped
        return []


async def test_closing_at_once_leaves_no_process(make_plugin: MakePlugin) -> None:
    """
    A table that is closed while its plugins are being started leaves none of them behind.
    """
    make_plugin("good")
    table = PluginTable(allow=["good"], block=[], notify=lambda: None)
    await table.start()
    await asyncio.sleep(0)
    await table.close()

    assert [] == [each for each in psutil.Process().children() if "motorpool_sdk.child" in _command(each)]


async def test_closing_leaves_no_process(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    A closed table has ended its plugins' processes.
    """
    make_plugin("good")
    table = await open_table("good")
    process = psutil.Process(pid(table, "good"))

    await table.close()

    assert not process.is_running()


@pytest.mark.promise("P5")
@pytest.mark.parametrize("hang", ["import time; time.sleep(3600)", "import ctypes; ctypes.PyDLL(None).sleep(3600)"])
def test_a_plugin_ends_with_its_agent(
    make_plugin: MakePlugin, tmp_path: Path, hang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Kill -9 of the agent leaves no plugin process behind, not even one that hangs.
    """
    make_plugin("stuck", code=f"def launch(self, request):\n    {hang}\nBackend.launch = launch")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    with subprocess.Popen([sys.executable, "-c", AGENT], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        child = psutil.Process(int(agent.stdout.readline()))
        agent.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 20
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the plugin's process outlived its agent"
        time.sleep(0.01)


async def test_a_plugin_sees_the_environment_it_asked_for(
    make_plugin: MakePlugin, open_table: OpenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A plugin's process gets the names of its manifest and a few plain ones; the agent's secrets stay the agent's.
    """
    monkeypatch.setenv("MOTORPOOL_JOIN_TOKEN", "secret")
    monkeypatch.setenv("VENDOR_HOME", "/opt/vendor")
    make_plugin("good", code=DUMP, extra='reads_env = ["VENDOR_HOME"]\n')
    table = await open_table("good")

    (finding,) = await table.check("good", launch_request())

    assert "/opt/vendor" in finding.message
    assert "secret" not in finding.message


async def test_library_paths_come_first(
    make_plugin: MakePlugin, open_table: OpenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The manifest's library folders stand before those that the agent was started with.
    """
    monkeypatch.setenv("LD_LIBRARY_PATH", "/agent/lib")
    make_plugin("good", code=DUMP, extra='library_paths = ["/opt/a", "/opt/b"]\n')
    table = await open_table("good")

    (finding,) = await table.check("good", launch_request())

    assert '"LD_LIBRARY_PATH": "/opt/a:/opt/b:/agent/lib"' in finding.message
