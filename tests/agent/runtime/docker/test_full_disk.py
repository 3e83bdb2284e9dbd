"""A Docker Engine whose disk is full: said clearly, tried again, and nothing lost that stands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.supervisor import Supervisor
from tests.agent.runtime.docker.registry import Registry
from tests.agent.runtime.docker.small_engine import SmallEngine, says, small_engine
from tests.agent.runtime.fakes import ENGINE, assignment, desired, tombstone, until, until_gone, until_state
from tests.docker_engine import DockerEngine

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.needs("ip"),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("dockerd") is None, reason="wants root and dockerd"),
    pytest.mark.xdist_group("small-engine"),
]


@pytest.fixture(name="engine")
def make_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallEngine]:
    """A Docker Engine with room for one image and little more."""
    with small_engine(200) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.address)
        yield engine


@pytest.fixture(name="own")
def make_own(engine: SmallEngine) -> Iterator[DockerEngine]:
    """What it shows of itself."""
    own = DockerEngine()
    yield own
    own.client.close()


@pytest.mark.promise("P3")
async def test_what_runs_goes_on_and_what_does_not_fit_waits(
    engine: SmallEngine, own: DockerEngine, make: Callable[..., Supervisor], tmp_path: Path, data_dir: Path
) -> None:
    """
    With the disk full a new container is an error that says so, tried again until there is room; what ran before goes
    on, answers, and has its log once there is room again.
    """
    image = own.python_image(ENGINE)
    supervisor = make()
    await supervisor.adopt()
    first = assignment(tmp_path, "a1", image=image)
    supervisor.apply(desired(first))
    before = await until_state(supervisor, State.RUNNING, "a1")

    engine.fill()
    both = desired(first, assignment(tmp_path, "a2", image=image))
    supervisor.apply(both)
    await until(lambda: supervisor.observed()["a2"].restart_count >= 2, "a2 is tried again")
    refused = await until_state(supervisor, State.ERROR, "a2")
    assert refused.last_failure is not None
    assert "DISK_FULL" == refused.last_failure.reason
    assert "no space left" in refused.last_failure.message
    assert "`docker system df` on the node" in refused.last_failure.message
    for _ in range(3):
        assert await says(before)
    during = supervisor.observed()["a1"]
    assert (before.pid, State.RUNNING) == (during.pid, during.state)

    engine.empty()
    await until_state(supervisor, State.RUNNING, "a2")
    assert await says(before)
    await until(lambda: "said" in _log(data_dir, "a1"), "the log goes on")
    assert (before.pid, 0) == (supervisor.observed()["a1"].pid, supervisor.observed()["a1"].restart_count)
    assert 2 == len(own.containers(data_dir))
    supervisor.apply(desired(tombstones=[tombstone("a1"), tombstone("a2")]))
    await until_gone(supervisor, "a1")
    await until_gone(supervisor, "a2")
    assert [] == own.containers(data_dir)


async def test_an_image_waits_for_room(engine: SmallEngine, supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An image that there is no room for is an error that says what takes the room, and is pulled when there is some.
    """
    with Registry(os.urandom(32 << 20)) as registry:
        registry.gate.set()
        engine.fill(leave_mib=8)
        supervisor.apply(desired(assignment(tmp_path, image=registry.image)))
        await until(lambda: supervisor.observed()["a1"].restart_count >= 2, "the pull is tried again")
        full = await until_state(supervisor, State.ERROR)
        engine.empty()
        # There is no program in it: what fails then is the start, after the pull.
        await until(lambda: _reason(supervisor) == "EXEC_FAILED", "the image is there")

    assert full.last_failure is not None
    assert "DISK_FULL" == full.last_failure.reason
    assert "could not be pulled, the Docker Engine's disk is full" in full.last_failure.message


async def test_a_container_is_removed_from_a_full_disk(
    engine: SmallEngine, own: DockerEngine, supervisor: Supervisor, tmp_path: Path, data_dir: Path
) -> None:
    """
    A tombstone is carried out on a full disk, too: it is what makes room.
    """
    supervisor.apply(desired(assignment(tmp_path, image=own.python_image(ENGINE))))
    await until_state(supervisor, State.RUNNING)

    engine.fill()
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)

    assert [] == own.containers(data_dir)


def _reason(supervisor: Supervisor) -> str:
    failure = supervisor.observed()["a1"].last_failure
    return "" if failure is None else failure.reason


def _log(data_dir: Path, assignment_id: str) -> str:
    files = sorted((data_dir / "instances" / assignment_id / "logs").glob("*.log"))
    return "".join(file.read_text(encoding="utf-8") for file in files)
