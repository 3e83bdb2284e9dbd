"""One model answers without a single failure while everything around it dies, is upgraded and is replaced."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from examples.demo.model import fetch
from motorpool import v1
from tests.e2e.chat import Questioner
from tests.e2e.conftest import ROOT
from tests.e2e.environment import Environment, of_version
from tests.e2e.fleet import Fleet, Process, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ANSWERS = 5
"""In every phase, at least."""
PATIENCE_SECONDS = 180.0
"""The model is a real one, and computes beside whatever else the machine does."""


@pytest.mark.promise("P1")
@pytest.mark.timeout(600)
def test_no_question_fails_whatever_is_killed_upgraded_and_replaced(
    fleet: Fleet, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """
    The demo's model is asked in a loop: the agent is killed, each plugin's process crashes, the agent is upgraded by a
    newer wheel, the controller is killed, replaced on the same data directory and by one restored from a backup. Each
    phase has its answers, none fails, and one process gives them all.
    """
    environment = Environment(tmp_path / "environment")
    environment.make()
    environment.install(of_version(ROOT / "agent", "0.1.1", tmp_path))
    fleet.agent_command = environment.agent_command
    fleet.start_agent()
    fleet.deploy("demo", fetch(ROOT / ".cache" / "models"))
    before = fleet.wait_state("demo", v1.INSTANCE_STATE_RUNNING)
    began = psutil.Process(before.pid).create_time()

    with Questioner(fleet.credentials("demo"), tokens=4) as questioner:
        phases = _Phases(questioner)
        phases.ask("all well")

        with phases.during("agent killed"):
            fleet.agents["a"].kill()
            phases.ask("without an agent")
            agent = fleet.start_agent()
        _adopted(fleet, before)

        with phases.during("each plugin's process crashed"):
            crashed = _plugins(agent)
            assert crashed
            for plugin in crashed:
                plugin.kill()
            pids = {plugin.pid for plugin in crashed}
            wait_for(
                "a successor of each",
                lambda: len({plugin.pid for plugin in _plugins(agent)} - pids) >= len(crashed),
            )
        _launches_another(fleet)

        with phases.during("agent upgraded"):
            environment.install(of_version(ROOT / "agent", "0.1.2", tmp_path))
            phases.ask("with a newer agent's files below the one that runs")
            assert 0 == agent.terminate()
            phases.ask("while the agent is upgraded")
            agent = fleet.start_agent()
            wait_for("the newer agent", lambda: "0.1.2" == _agent_version(fleet))
        _adopted(fleet, before)

        with phases.during("controller killed, and another one on its data directory"):
            _controller(fleet).kill()
            phases.ask("without a controller")
            fleet.start_controller()
            fleet.wait_ready()
        _adopted(fleet, before)

        data, backup = str(fleet.controller_dir), tmp_path / "cluster.backup"
        with phases.during("controller replaced by one restored from a backup, while the agent is away too"):
            fleet.command("motorpool-controller", "backup", str(backup), "--data-dir", data)
            _controller(fleet).kill()
            agent.kill()
            phases.ask("with neither agent nor controller")
            fleet.command("motorpool-controller", "restore", str(backup), "--replace", "--data-dir", data)
            fleet.start_controller()
            fleet.start_agent()
        _adopted(fleet, before)
        phases.ask("all well again")

    record_property("phases", f"{len(crashed)} plugins, {questioner.answers} answers; {phases.told()}")
    assert [] == questioner.failures
    assert not [phase for phase, answers in phases.answers.items() if answers < ANSWERS]
    assert began == psutil.Process(before.pid).create_time()
    fleet.delete("demo")
    wait_for("its end", lambda: not psutil.pid_exists(before.pid))


class _Phases:
    """Counts the answers of each phase."""

    def __init__(self, questioner: Questioner) -> None:
        self._questioner = questioner
        self.answers: dict[str, int] = {}

    def ask(self, phase: str) -> None:
        """Return when enough answers came."""
        with self.during(phase):
            pass

    @contextlib.contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Count the answers of the block; when it is over, wait for more until there are enough."""
        began = self._questioner.answers
        yield
        missing = max(0, began + ANSWERS - self._questioner.answers)
        self._questioner.wait_for_more(missing, phase, PATIENCE_SECONDS)
        self.answers[phase] = self._questioner.answers - began

    def told(self) -> str:
        """Return the counts for people."""
        return ", ".join(f"{phase}: {answers}" for phase, answers in self.answers.items())


def _controller(fleet: Fleet) -> Process:
    assert fleet.controller is not None
    return fleet.controller


def _adopted(fleet: Fleet, before: v1.Instance) -> None:
    """Hold that the fleet shows the process of before, adopted and never started again."""

    def told() -> v1.Instance | None:
        return next((each for each in fleet.instances("demo") if each.adopted), None)

    wait_for("the agent's word that it was adopted", told)
    after = fleet.wait_state("demo", v1.INSTANCE_STATE_RUNNING)
    assert (before.pid, before.pid_start_ticks, 0) == (after.pid, after.pid_start_ticks, after.restart_count)


def _launches_another(fleet: Fleet) -> None:
    """Hold that the plugins answer again: another model is launched, and removed."""
    fleet.deploy("other", fetch(ROOT / ".cache" / "models"))
    fleet.wait_state("other", v1.INSTANCE_STATE_RUNNING, timeout_seconds=100)
    fleet.delete("other")


def _agent_version(fleet: Fleet) -> str:
    return fleet.nodes.GetNode(v1.GetNodeRequest(name="nodes/a")).agent_version


def _plugins(agent: Process) -> list[psutil.Process]:
    """Return the processes of an agent's plugins."""
    found = []
    for child in psutil.Process(agent.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "motorpool_sdk.child" in child.cmdline():
                found.append(child)
    return found
