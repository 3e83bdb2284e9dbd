"""A Docker Engine that is restarted without live-restore: it ends its containers, and they are started again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.supervisor import Supervisor
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
    """A Docker Engine as it is installed: without live-restore."""
    with small_engine(200) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.address)
        yield engine


@pytest.fixture(name="own")
def make_own(engine: SmallEngine) -> Iterator[DockerEngine]:
    """What it shows of itself."""
    own = DockerEngine()
    yield own
    own.client.close()


@pytest.mark.parametrize("end", [SmallEngine.kill, SmallEngine.end], ids=["killed", "stopped"])
async def test_what_its_restart_ended_is_started_again(
    engine: SmallEngine,
    own: DockerEngine,
    make: Callable[..., Supervisor],
    tmp_path: Path,
    data_dir: Path,
    end: Callable[[SmallEngine], None],
) -> None:
    """
    While it is away what ran is kept as it was last known; once it is back, and has ended its containers, each is one
    failure that says what ended it, and one new container that answers, beside which nothing is left.
    """
    image = own.python_image(ENGINE)
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path, image=image)))
    before = await until_state(supervisor, State.RUNNING)
    await asyncio.to_thread(end, engine)
    await asyncio.to_thread(engine.start)
    await until(lambda: supervisor.observed()["a1"].restart_count == 1, "started again")
    after = await until_state(supervisor, State.RUNNING)

    assert await says(after)
    assert (before.pid, before.pid_start_ticks) != (after.pid, after.pid_start_ticks)
    assert after.first_failure is not None
    assert ("EXITED", signal.SIGTERM) == (after.first_failure.reason, after.first_failure.signal)
    assert 1 == len(own.containers(data_dir))
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)
    assert [] == own.containers(data_dir)
