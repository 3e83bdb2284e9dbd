"""A data directory on a disk that is full: nothing half-made, a clear failure, and life after it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_agent.state.files import write_durably
from tests.agent.runtime.fakes import assignment, desired, tombstone, until, until_gone, until_state
from tests.agent.runtime.killed_agent import engines


@contextmanager
def _files_limited_to(size_bytes: int) -> Iterator[None]:
    """
    Within, no file grows beyond this: the kernel refuses the write as a full disk would.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.promise("P8")
async def test_handle_that_cannot_be_written_executes_nothing(
    supervisor: Supervisor, tmp_path: Path, data_dir: Path
) -> None:
    """
    Without its handle on disk an engine is not executed; the failure says where and what to do, nothing is left over.
    """
    before = set(psutil.Process().children())
    directory = data_dir / "instances" / "a1"
    obstacle = directory / ".handle.json.new"
    obstacle.mkdir(parents=True)

    def tried(times: int) -> bool:
        return supervisor.observed()["a1"].restart_count >= times

    supervisor.apply(desired(assignment(tmp_path)))
    await until(lambda: tried(1))
    descriptors = await _descriptors(supervisor)
    await until(lambda: tried(3))
    seen = await until_state(supervisor, State.ERROR)

    assert seen.last_failure is not None
    assert seen.last_failure.reason == "STATE_UNWRITABLE"
    assert str(directory) in seen.message
    assert "free space" in seen.message
    assert not {"process.json", "handle.json"} & {path.name for path in directory.iterdir()}
    assert set(psutil.Process().children()) == before
    assert await _descriptors(supervisor) == descriptors

    obstacle.rmdir()
    await until_state(supervisor, State.RUNNING)
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)


async def test_shim_that_cannot_write_says_so(supervisor: Supervisor, tmp_path: Path, data_dir: Path) -> None:
    """
    If the shim cannot say who it is about to execute, nothing is executed, and the failure names the file.
    """
    obstacle = data_dir / "instances" / "a1" / ".process.json.new"
    obstacle.mkdir(parents=True)
    supervisor.apply(desired(assignment(tmp_path, restart=False)))
    seen = await until_state(supervisor, State.ERROR)

    assert seen.last_failure is not None
    assert seen.last_failure.reason == "SHIM_FAILED"
    assert "Is a directory: .process.json.new" in seen.message
    assert engines(data_dir) == {}


def test_draft_that_could_not_be_written_is_removed(tmp_path: Path) -> None:
    """
    A file that a full disk refuses leaves the old content and no draft.
    """
    path = tmp_path / "file"
    write_durably(path, b"old")

    with _files_limited_to(512), pytest.raises(OSError, match="File too large"):
        write_durably(path, b"x" * 4096)

    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


async def _descriptors(supervisor: Supervisor) -> int:
    """
    Return how many descriptors are open while the instance waits for its next try, but for those of sockets: a look at
    the container engine takes one for a moment.
    """
    await until_state(supervisor, State.ERROR)
    return _beside_sockets()


def _beside_sockets() -> int:
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # of what listed the folder
            count += not descriptor.readlink().name.startswith("socket:")
    return count
