"""An agent and a plugin are replaced by newer wheels while a model answers."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
import pytest

from motorpool import v1
from tests.e2e.chat import Questioner
from tests.e2e.conftest import ROOT
from tests.e2e.environment import Environment, of_version
from tests.e2e.fleet import Fleet, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

AGENT = ROOT / "agent"
PLUGIN = ROOT / "plugins" / "backends" / "llama_cpp"


@pytest.mark.promise("P1")
@pytest.mark.timeout(300)
def test_agent_and_plugin_of_newer_wheels_adopt_what_runs(fleet: Fleet, tiny_model: Path, tmp_path: Path) -> None:
    """
    Wheels of a newer agent and plugin are installed over those that run; the plugin crashes, the agent is stopped,
    killed, and started from what is installed by then: one process answers all the while, and is adopted.
    """
    environment = Environment(tmp_path / "environment")
    environment.make()
    environment.install(of_version(AGENT, "0.1.1", tmp_path), of_version(PLUGIN, "0.1.1", tmp_path))
    fleet.agent_command = environment.agent_command
    agent = fleet.start_agent()
    _wait_versions(fleet, "0.1.1", "0.1.1")
    fleet.deploy("tiny", tiny_model)
    before = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)

    with Questioner(fleet.credentials("tiny")) as questioner:
        questioner.wait_for_more(10, "before the upgrades")
        environment.install(of_version(PLUGIN, "0.1.2", tmp_path))
        questioner.wait_for_more(10, "with a newer plugin's files")
        _kill_plugins(agent.pid)
        questioner.wait_for_more(10, "while the plugins start again")
        environment.install(of_version(AGENT, "0.1.2", tmp_path))
        questioner.wait_for_more(10, "with a newer agent's files below the one that runs")
        assert 0 == agent.terminate()
        questioner.wait_for_more(10, "without an agent")
        agent = fleet.start_agent()
        _wait_versions(fleet, "0.1.2", "0.1.2")
        upgraded = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
        environment.install(of_version(AGENT, "0.1.1.post1", tmp_path))
        agent.kill()
        questioner.wait_for_more(10, "without an agent again")
        fleet.start_agent()
        _wait_versions(fleet, "0.1.1.post1", "0.1.2")
        returned = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
        questioner.wait_for_more(10, "after the way back")

    assert [] == questioner.failures
    for after in (upgraded, returned):
        assert (before.pid, before.pid_start_ticks, 0) == (after.pid, after.pid_start_ticks, after.restart_count)
        assert after.adopted
    fleet.delete("tiny")
    assert not psutil.pid_exists(before.pid)


def _wait_versions(fleet: Fleet, agent: str, plugin: str) -> None:
    """Wait until the node tells of an agent and of its plugin in these versions."""

    def told() -> bool:
        node = fleet.nodes.GetNode(v1.GetNodeRequest(name="nodes/a"))
        plugins = [each.version for each in node.plugins if each.plugin_id == "llama_cpp"]
        return (node.agent_version, plugins) == (agent, [plugin])

    wait_for(f"agent {agent} and plugin {plugin}", told)


def _kill_plugins(agent: int) -> None:
    """Kill the processes of an agent's plugins. Engines and shims are its children, too, where it started them."""
    plugins = [
        child for child in psutil.Process(agent).children() if not any("/shim/" in word for word in child.cmdline())
    ]
    assert plugins
    for plugin in plugins:
        with contextlib.suppress(psutil.NoSuchProcess):
            plugin.kill()
