"""Running models survive the death of their agent and of their controller."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from motorpool import v1
from tests.e2e.chat import Questioner, ask
from tests.e2e.fleet import Fleet, engines_below, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def _identity(instance: v1.Instance) -> tuple[int, int]:
    return instance.pid, instance.pid_start_ticks


@pytest.mark.promise("P1")
@pytest.mark.timeout(300)
def test_answers_go_on_while_agent_and_controller_are_killed(fleet: Fleet, tiny_model: Path) -> None:
    """
    At least a hundred streamed answers span the kill -9 of agent and controller; none fails, and it is one process.
    """
    agent = fleet.start_agent()
    fleet.deploy("tiny", tiny_model)
    before = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)

    with Questioner(fleet.credentials("tiny")) as questioner:
        for _ in range(2):
            questioner.wait_for_more(10, "before the kill")
            agent.kill()
            questioner.wait_for_more(10, "without an agent")
            agent = fleet.start_agent()
            adopted = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
            assert _identity(before) == _identity(adopted)

            assert fleet.controller is not None
            fleet.controller.kill()
            questioner.wait_for_more(10, "without a controller")
            fleet.start_controller()
            fleet.wait_ready()
        questioner.wait_for_more(100 - questioner.answers, "to make a hundred")

    after = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    assert [] == questioner.failures
    assert _identity(before) == _identity(after)
    assert after.adopted
    assert 0 == after.restart_count


@pytest.mark.promise("P1")
@pytest.mark.parametrize("moment", ["assigned", "prepared", "started", "running", "stopping"])
def test_an_agent_killed_at_any_moment_leaves_one_engine_or_none(fleet: Fleet, tiny_model: Path, moment: str) -> None:
    """
    Whenever the agent dies, its successor ends with exactly one engine for an instance that is wished for, and with
    none for one that is not.
    """
    agent = fleet.start_agent()
    fleet.deploy("tiny", tiny_model)
    instances = fleet.folder / "a" / "instances"
    if moment in {"running", "stopping"}:
        fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    if moment == "stopping":
        fleet.deployments.DeleteDeployment(v1.DeleteDeploymentRequest(name="deployments/tiny"))
    else:
        probes: dict[str, Callable[[], bool]] = {
            "assigned": lambda: any(fleet.instances("tiny")),
            "prepared": lambda: any(instances.glob("*/handle.json")),
            "started": lambda: any(instances.glob("*/process.json")),
            "running": lambda: True,
        }
        seen = probes[moment]
        deadline = time.monotonic() + 60
        while not seen():  # as quick as can be: the moment is short
            assert time.monotonic() < deadline
    engines = {process.pid for process in _engines(fleet)}
    agent.kill()

    fleet.start_agent()
    if moment == "stopping":
        wait_for("the instance to be gone", lambda: not fleet.instances("tiny") and not _engines(fleet))
        return
    after = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    ask(fleet.credentials("tiny"))
    assert [after.pid] == [process.pid for process in _engines(fleet)]
    if engines:
        assert engines == {after.pid}


def _engines(fleet: Fleet) -> list[psutil.Process]:
    """
    Return the engines that this fleet's shims started.
    """
    found = []
    for process in engines_below(fleet.folder):
        with contextlib.suppress(psutil.Error):  # it may end meanwhile
            if any("runtime/shim" in word for word in process.cmdline()):
                found += process.children(recursive=True)
    return found
