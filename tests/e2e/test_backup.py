"""A controller that goes on from yesterday's backup removes nothing, and its agents follow it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import psutil
import pytest

from motorpool import v1
from tests.e2e.chat import Questioner
from tests.e2e.fleet import Fleet, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.promise("P3")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["restored", "copied back"])
def test_what_began_after_the_backup_runs_on(fleet: Fleet, tiny_model: Path, tmp_path: Path, way: str) -> None:
    """
    Of two models one began after the backup: both answer throughout, as the same processes, whether the backup was
    restored or its database was merely put back; the agent follows, and the one that is not known is told of.
    """
    fleet.start_agent()
    fleet.deploy("old", tiny_model)
    old = fleet.wait_state("old", v1.INSTANCE_STATE_RUNNING)
    data, file = fleet.folder / "controller", tmp_path / "cluster.backup"
    fleet.command("motorpool-controller", "backup", str(file), "--data-dir", str(data))
    fleet.deploy("new", tiny_model)
    new = fleet.wait_state("new", v1.INSTANCE_STATE_RUNNING)

    with Questioner(fleet.credentials("old")) as asking_old, Questioner(fleet.credentials("new")) as asking_new:
        assert fleet.controller is not None
        fleet.controller.terminate()
        if way == "restored":
            told = fleet.command(
                "motorpool-controller", "restore", str(file), "--replace", "--data-dir", str(data)
            ).stdout
            assert "1 nodes, 1 deployments, 1 instances" in told
        else:
            _put_back(file, data, tmp_path)
        fleet.start_controller()
        fleet.wait_ready()
        events = wait_for("the agent's report", lambda: _unknown(fleet))
        after = fleet.wait_state("old", v1.INSTANCE_STATE_RUNNING)
        asking_old.wait_for_more(10, "after the restoration")
        asking_new.wait_for_more(10, "after the restoration")
        # It follows what the controller says from now on.
        fleet.deploy("next", tiny_model)
        fleet.wait_state("next", v1.INSTANCE_STATE_RUNNING)

    assert [] == asking_old.failures + asking_new.failures
    assert (old.pid, old.pid_start_ticks) == (after.pid, after.pid_start_ticks)
    assert 0 == after.restart_count
    assert str(new.pid) in events
    assert [] == fleet.instances("new")
    [stray] = _strays(fleet)
    assert (new.name, new.uid, str(new.pid)) == (stray["instance"], stray["assignment_id"], str(stray["pid"]))
    fleet.command("motorpool", "release", "a", new.uid, "--reason", "made after the backup")
    wait_for("its end", lambda: not psutil.pid_exists(new.pid))
    wait_for("no strays", lambda: not _strays(fleet))
    assert psutil.pid_exists(old.pid)


@pytest.mark.promise("P1")
@pytest.mark.timeout(300)
def test_what_began_after_the_backup_is_adopted(fleet: Fleet, tiny_model: Path, tmp_path: Path) -> None:
    """
    A model that a restored controller does not know answers on, without a failure and as the same process, while its
    deployment is made again and it is adopted as its instance; with the key that its callers have. It is the
    deployment's from then on: it is found again by a new agent, and ends with it.
    """
    agent = fleet.start_agent()
    data, file = str(fleet.controller_dir), str(tmp_path / "cluster.backup")
    fleet.command("motorpool-controller", "backup", file, "--data-dir", data)
    fleet.deploy("new", tiny_model)
    before = fleet.wait_state("new", v1.INSTANCE_STATE_RUNNING)
    credentials = fleet.credentials("new")

    with Questioner(credentials) as questioner:
        assert fleet.controller is not None
        fleet.controller.terminate()
        fleet.command("motorpool-controller", "restore", file, "--replace", "--data-dir", data)
        fleet.start_controller()
        fleet.wait_ready()
        wait_for("the agent's report", lambda: _strays(fleet))
        refused = fleet.command("motorpool", "adopt", "a", before.name, check=False)
        fleet.command("motorpool", "deploy", "new", "--model", str(tiny_model), "--replicas", "0")
        said = fleet.command("motorpool", "adopt", "a", before.name, "--add-replica", "--reason", "restored").stdout
        after = fleet.wait_state("new", v1.INSTANCE_STATE_RUNNING)
        questioner.wait_for_more(10, "after the adoption")
        agent.kill()
        fleet.start_agent()
        questioner.wait_for_more(10, "after a restart of the agent")
        again = fleet.wait_state("new", v1.INSTANCE_STATE_RUNNING)

    assert [] == questioner.failures
    assert "--replicas 0" in " ".join(refused.stderr.split())
    assert f"{before.name} is deployments/new's now" in said
    assert not _strays(fleet)
    for each in (after, again):
        assert (before.name, before.uid, before.pid, before.pid_start_ticks, before.endpoint, 0) == (
            each.name,
            each.uid,
            each.pid,
            each.pid_start_ticks,
            each.endpoint,
            each.restart_count,
        )
        assert before.placement.members == each.placement.members
    assert credentials == fleet.credentials("new")
    assert 1 == len(fleet.instances("new"))
    fleet.delete("new")
    wait_for("its end", lambda: not psutil.pid_exists(before.pid))


def _put_back(file: Path, data: Path, folder: Path) -> None:
    shutil.unpack_archive(file, folder / "unpacked", "gztar")
    for name in ("controller.db-wal", "controller.db-shm"):
        (data / name).unlink(missing_ok=True)
    shutil.copyfile(folder / "unpacked" / "controller.db", data / "controller.db")


def _strays(fleet: Fleet) -> list[dict[str, str]]:
    told: list[dict[str, str]] = json.loads(
        fleet.command("motorpool", "instances", "--strays", "--output", "json").stdout
    )["strays"]
    return told


def _unknown(fleet: Fleet) -> str | None:
    said = fleet.command("motorpool", "events").stdout
    return said if "ASSIGNMENT_UNKNOWN" in said else None
