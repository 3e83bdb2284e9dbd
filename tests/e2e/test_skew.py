"""Releases of the history and what stands here, together: agents, commands and controllers of different versions."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from motorpool import v1
from tests.conftest import cannot_run_here
from tests.e2e.chat import Questioner
from tests.e2e.fleet import BIN, Fleet
from tests.e2e.releases import Release, is_shallow, releases

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("releases")]
LAST = 2
"""So many releases before it a controller serves."""


@pytest.fixture(name="release", params=range(LAST), ids=("last", "last but one"))
def make_release(request: pytest.FixtureRequest) -> Release:
    """
    One of the last releases, by its wheels.
    """
    if is_shallow():
        cannot_run_here("this clone's history is cut off, and releases are commits of it: git fetch --unshallow")
    found = releases()
    assert found, "the history has no commit `Release X.Y.Z`"
    if len(found) <= request.param:
        pytest.skip(f"there is no such release: before this came {', '.join(each.version for each in found)}")
    return found[request.param]


def motorpool(release: Release, fleet: Fleet, *words: str) -> str:
    """Run a release's own command to its end."""
    done = subprocess.run(
        [release.programs() / "motorpool", *words],
        env={**os.environ, "MOTORPOOL_CONFIG": str(fleet.client_file)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.mark.promise("P10")
@pytest.mark.promise("P1")
def test_an_agent_of_a_release_serves_and_is_upgraded(release: Release, fleet: Fleet, tiny_model: Path) -> None:
    """
    An agent of a release joins, serves a model, and is replaced by this version's, which adopts what answers; the
    model is deleted as any other.
    """
    fleet.agent_command = (str(release.programs() / "motorpool-agent"),)
    agent = fleet.start_agent()
    fleet.deploy("tiny", tiny_model)
    before = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    old = fleet.nodes.GetNode(v1.GetNodeRequest(name="nodes/a"))

    with Questioner(fleet.credentials("tiny")) as questioner:
        questioner.wait_for_more(5, "from the release's agent")
        assert fleet.controller is not None
        fleet.controller.kill()
        fleet.start_controller()
        fleet.wait_ready()
        questioner.wait_for_more(5, "after the controller was there again")
        assert 0 == agent.terminate()
        fleet.agent_command = ("motorpool-agent",)
        fleet.start_agent()
        after = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
        questioner.wait_for_more(5, "from this version's agent")
    fleet.delete("tiny")

    assert [] == questioner.failures
    assert release.version == old.agent_version
    assert (before.pid, before.pid_start_ticks, 0) == (after.pid, after.pid_start_ticks, after.restart_count)


@pytest.mark.promise("P10")
def test_the_command_of_a_release_lists_deploys_and_deletes(release: Release, fleet: Fleet, tiny_model: Path) -> None:
    """
    The command of a release, with an agent of this version: nodes, deploy, explain, delete.
    """
    fleet.start_agent()

    nodes = json.loads(motorpool(release, fleet, "nodes", "--output", "json"))
    deployed = motorpool(release, fleet, "deploy", "tiny", "--model", str(tiny_model), "--wait")
    (instance,) = fleet.instances("tiny")
    explained = motorpool(release, fleet, "explain", "tiny")
    motorpool(release, fleet, "delete", "tiny", "--wait")

    assert "nodes/a" in json.dumps(nodes)
    assert instance.endpoint in deployed
    assert v1.INSTANCE_STATE_RUNNING == instance.state
    assert "a" in explained
    assert [] == fleet.instances("tiny")


@pytest.fixture(name="former")
def make_former(release: Release, tmp_path: Path, engines: Path) -> Iterator[Fleet]:
    """
    A controller of a release.
    """
    fleet = Fleet(tmp_path, engines, programs=release.programs())
    try:
        fleet.start_controller()
        yield fleet
    finally:
        fleet.close()


def test_this_agent_serves_below_a_controller_of_a_release(release: Release, former: Fleet, tiny_model: Path) -> None:
    """
    Agents that were upgraded before their controller go on serving it.
    """
    former.start_agent()
    former.deploy("tiny", tiny_model)
    running = former.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    with Questioner(former.credentials("tiny")) as questioner:
        questioner.wait_for_more(5, "below the release's controller")
    former.delete("tiny")

    assert [] == questioner.failures
    assert running.endpoint


@pytest.mark.promise("P8")
def test_this_controller_takes_over_what_a_release_stored(release: Release, former: Fleet, tiny_model: Path) -> None:
    """
    The controller is replaced by this version's on the release's own database: what runs is found there, and goes on.
    """
    former.agent_command = (str(release.programs() / "motorpool-agent"),)
    former.start_agent()
    former.deploy("tiny", tiny_model)
    before = former.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    with Questioner(former.credentials("tiny")) as questioner:
        assert former.controller is not None
        former.controller.terminate()
        former.programs = BIN
        former.start_controller()
        former.wait_ready()
        after = former.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
        questioner.wait_for_more(5, "below this version's controller")
    former.delete("tiny")

    assert [] == questioner.failures
    assert (before.name, before.pid, before.pid_start_ticks) == (after.name, after.pid, after.pid_start_ticks)
