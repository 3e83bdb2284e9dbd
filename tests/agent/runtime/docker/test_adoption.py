"""What a new agent finds in the Docker Engine, and what it makes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.supervisor import Supervisor
from tests.agent.runtime.fakes import assignment, desired, tombstone, until, until_gone, until_state
from tests.docker_engine import DockerEngine

pytestmark = pytest.mark.e2e

MakeSupervisor = Callable[..., Supervisor]


async def _left_running(make: MakeSupervisor, tmp_path: Path, image: str) -> None:
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path, image=image)))
    await until_state(supervisor, State.RUNNING)
    await supervisor.close()


@pytest.mark.promise("P3")
async def test_container_without_a_handle(
    make: MakeSupervisor, docker: DockerEngine, data_dir: Path, tmp_path: Path, image: str
) -> None:
    """
    A container whose handle is gone is reported as quarantined and goes on, also under a desired state without it.
    """
    await _left_running(make, tmp_path, image)
    shutil.rmtree(data_dir)
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired())
    seen = supervisor.observed()["a1"]
    [container] = docker.containers(data_dir)

    assert State.QUARANTINED is seen.state
    assert container["Id"][:12] in seen.message
    assert container["State"]["Running"]

    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)
    assert [] == docker.containers(data_dir)


@pytest.mark.promise("P3")
async def test_container_of_another_generation(
    make: MakeSupervisor, docker: DockerEngine, data_dir: Path, tmp_path: Path, image: str
) -> None:
    """
    A container that matches its handle in part only is quarantined and left alone, and no second one is made.
    """
    await _left_running(make, tmp_path, image)
    handle = data_dir / "instances" / "a1" / "handle.json"
    handle.write_bytes(handle.read_bytes().replace(b'"motorpool.digest":"d1"', b'"motorpool.digest":"d0"'))
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path, generation=2, image=image)))
    seen = supervisor.observed()["a1"]

    assert State.QUARANTINED is seen.state
    assert "motorpool.digest" in seen.message
    assert [True] == [one["State"]["Running"] for one in docker.containers(data_dir)]


@pytest.mark.promise("P1")
async def test_docker_is_away_when_the_agent_starts(
    make: MakeSupervisor,
    docker: DockerEngine,
    data_dir: Path,
    tmp_path: Path,
    image: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    An agent that starts before its Docker Engine keeps what was known, and adopts the container when it answers.
    """
    await _left_running(make, tmp_path, image)
    [before] = docker.containers(data_dir)
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
        supervisor = make()
        await supervisor.adopt()
        seen = supervisor.observed()["a1"]
        assert State.RUNNING is seen.state
        assert f"unix://{tmp_path}/docker.sock" in seen.message
    await until(lambda: supervisor.observed()["a1"].adopted)
    [after] = docker.containers(data_dir)

    assert (before["Id"], before["State"]["Pid"]) == (after["Id"], supervisor.observed()["a1"].pid)
    assert (State.RUNNING, "") == (supervisor.observed()["a1"].state, supervisor.observed()["a1"].message)


async def test_no_docker(make: MakeSupervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without a Docker Engine an image is an error that says where it was looked for and what to do; it can be removed.
    """
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path, image="engine:1", restart=False)))
    seen = await until_state(supervisor, State.ERROR)
    assert seen.last_failure is not None

    assert "DOCKER_UNREACHABLE" == seen.last_failure.reason
    assert f"unix://{tmp_path}/docker.sock" in seen.last_failure.message
    assert "deploy without an image" in seen.last_failure.message
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)


async def test_removed_by_hand(
    make: MakeSupervisor, docker: DockerEngine, data_dir: Path, tmp_path: Path, image: str
) -> None:
    """
    A container that a person removed is made again.
    """
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path, image=image)))
    await until_state(supervisor, State.RUNNING)
    [before] = docker.containers(data_dir)
    docker.client.remove_container(before["Id"], force=True)
    await until(lambda: supervisor.observed()["a1"].restart_count == 1)
    await until_state(supervisor, State.RUNNING)
    [after] = docker.containers(data_dir)

    assert before["Id"] != after["Id"]


async def test_restarted_by_hand(
    make: MakeSupervisor, docker: DockerEngine, data_dir: Path, tmp_path: Path, image: str
) -> None:
    """
    A container that a person stops is an end like any other: the agent makes one anew, and there is one.
    """
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path, image=image)))
    await until_state(supervisor, State.RUNNING)
    docker.client.stop(docker.containers(data_dir)[0]["Id"], timeout=5)
    await until(lambda: supervisor.observed()["a1"].restart_count == 1)
    await until_state(supervisor, State.RUNNING)

    assert 1 == len(docker.containers(data_dir))


@pytest.mark.promise("P1")
async def test_created_and_never_started(
    make: MakeSupervisor, docker: DockerEngine, data_dir: Path, tmp_path: Path, image: str
) -> None:
    """
    What an agent created and did not come to start is removed by the next launch of the same instance.
    """
    await _left_running(make, tmp_path, image)
    [one] = docker.containers(data_dir)
    docker.client.stop(one["Id"], timeout=5)
    leftover = docker.client.create_container(image, labels={**one["Config"]["Labels"], "motorpool.run": "7"})
    supervisor = make()
    await supervisor.adopt()
    await until_state(supervisor, State.RUNNING)
    [after] = docker.containers(data_dir)

    assert after["Id"] not in {one["Id"], leftover["Id"]}
