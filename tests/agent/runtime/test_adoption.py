"""What a new agent finds on disk, and what it makes of it."""

# ruff: noqa: ASYNC220, ASYNC240  # small files on a local disk, and a child that must be waited for
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from motorpool_agent.reconcile.observation import ObservedInstance, State
from motorpool_agent.runtime import procfs, shimfiles
from motorpool_agent.runtime.cgroup import Cgroups
from motorpool_agent.runtime.probe import ready
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_agent.state.errors import DataDirectoryError
from tests.agent.runtime.fakes import assignment, desired, tombstone, until, until_gone, until_state
from tests.agent.runtime.killed_agent import engines

MakeSupervisor = Callable[..., Supervisor]


@pytest_asyncio.fixture(name="left")
async def _left(make: MakeSupervisor, tmp_path: Path) -> AsyncIterator[ObservedInstance]:
    """An instance that a former agent left running."""
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path)))
    seen = await until_state(supervisor, State.RUNNING)
    await supervisor.close()
    yield seen


@pytest.fixture(name="directory")
def _directory(data_dir: Path) -> Path:
    return data_dir / "instances" / "a1"


@pytest.mark.promise("P1")
async def test_adopted_before_plugins_are_ready(left: ObservedInstance, make: MakeSupervisor, backends: object) -> None:
    """
    What matches is adopted, running and measured without a word from any plugin.
    """
    backends.ready.clear()  # type: ignore[attr-defined]  # the fake's
    supervisor = make()
    await supervisor.adopt()
    seen = supervisor.observed()["a1"]

    assert (State.RUNNING, left.pid, True, left.launch) == (seen.state, seen.pid, seen.adopted, seen.launch)
    assert any(supervisor.memory_used().values())


async def test_adopted_instance_can_be_stopped(left: ObservedInstance, make: MakeSupervisor) -> None:
    """
    A tombstone ends an adopted instance like any other.
    """
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)

    assert procfs.read(left.pid) is None


async def test_end_in_the_agents_absence_is_known(
    left: ObservedInstance, make: MakeSupervisor, directory: Path
) -> None:
    """
    An engine that ended while no agent ran is restarted from its handle alone, and how it ended is known.
    """
    os.kill(left.pid, signal.SIGABRT)
    await until(lambda: not shimfiles.lock_held(directory))
    supervisor = make()
    await supervisor.adopt()
    seen = await until_state(supervisor, State.RUNNING)

    assert seen.pid != left.pid
    assert seen.last_failure is not None
    assert seen.last_failure.signal == signal.SIGABRT


@pytest.mark.promise("P1")
async def test_engine_survives_its_shim(left: ObservedInstance, make: MakeSupervisor, directory: Path) -> None:
    """
    An engine whose shim was killed is adopted, gets a new shim, and its log goes on.
    """
    process = shimfiles.read_process(directory)
    assert process is not None
    os.kill(process.shim_pid, signal.SIGKILL)
    await until(lambda: not shimfiles.lock_held(directory))
    supervisor = make()
    await supervisor.adopt()
    await until(lambda: shimfiles.lock_held(directory))
    assert left.launch is not None
    assert (await ready("127.0.0.1", left.launch.ports["http"], "/say", 5)).ready
    await until(lambda: "said" in (directory / "logs" / "000001.log").read_text())
    seen = supervisor.observed()["a1"]

    assert (State.RUNNING, left.pid) == (seen.state, seen.pid)


async def test_shim_killed_under_a_living_agent(make: MakeSupervisor, tmp_path: Path, directory: Path) -> None:
    """
    A shim that dies is replaced while the engine goes on, and the engine's end is still noticed.
    """
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path, restart=False)))
    seen = await until_state(supervisor, State.RUNNING)
    old = shimfiles.read_process(directory)
    assert old is not None
    os.kill(old.shim_pid, signal.SIGKILL)
    await until(lambda: shimfiles.read_process(directory) != old)
    assert supervisor.observed()["a1"] == seen
    os.kill(seen.pid, signal.SIGKILL)
    failed = await until_state(supervisor, State.ERROR)

    assert failed.last_failure is not None
    assert (None, None) == (failed.last_failure.exit_code, failed.last_failure.signal)
    await until(lambda: not shimfiles.lock_held(directory))


@pytest.mark.promise("P3")
@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 99, "handle": {}}', b'{"version": 1}', b"\xff\xfe"])
async def test_handle_that_cannot_be_read_is_kept(
    left: ObservedInstance, make: MakeSupervisor, tmp_path: Path, directory: Path, content: bytes
) -> None:
    """
    A corrupt or unknown handle is reported as quarantined; its engine lives, its directory stays, no second one starts.
    """
    (directory / "handle.json").write_bytes(content)
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path, generation=2)))
    seen = supervisor.observed()["a1"]

    assert seen.state is State.QUARANTINED
    assert "handle.json" in seen.message
    assert {left.pid: left.pid_start_ticks} == engines(directory.parents[1])
    assert content == (directory / "handle.json").read_bytes()


@pytest.mark.promise("P3")
async def test_handle_that_is_missing(
    left: ObservedInstance, make: MakeSupervisor, tmp_path: Path, directory: Path
) -> None:
    """
    An engine whose handle was removed is found by what its shim wrote: quarantined, not started twice, and ended by a
    tombstone.
    """
    (directory / "handle.json").unlink()
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path)))

    assert State.QUARANTINED is supervisor.observed()["a1"].state
    assert {left.pid: left.pid_start_ticks} == engines(directory.parents[1])

    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)
    assert procfs.read(left.pid) is None


@pytest.mark.promise("P1")
@pytest.mark.parametrize("start_time", ["1999-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])
async def test_clock_that_was_set(make: MakeSupervisor, tmp_path: Path, directory: Path, start_time: str) -> None:
    """
    An engine that is starting is adopted as such, however far the clock was set meanwhile: it keeps its time to start.
    """
    supervisor = make()
    await supervisor.adopt()
    file = tmp_path / "ready"
    supervisor.apply(desired(assignment(tmp_path, ready_file=str(file))))
    await until((directory / "process.json").exists)
    await until(lambda: supervisor.observed()["a1"].pid)
    before = supervisor.observed()["a1"]
    await supervisor.close()
    handle = msgspec.json.decode((directory / "handle.json").read_bytes())
    handle["handle"]["start_time"] = start_time
    (directory / "handle.json").write_bytes(msgspec.json.encode(handle))
    supervisor = make()
    await supervisor.adopt()
    file.touch()
    seen = await until_state(supervisor, State.RUNNING)

    assert (before.pid, None, 0) == (seen.pid, seen.last_failure, seen.restart_count)


async def test_unreadable_handle_is_removed_by_a_tombstone(
    left: ObservedInstance, make: MakeSupervisor, directory: Path
) -> None:
    """
    The order to remove ends an engine without a readable handle if the shim's own file proves that it is ours.
    """
    (directory / "handle.json").write_bytes(b"{")
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)

    assert procfs.read(left.pid) is None
    assert not directory.exists()


@pytest.mark.promise("P3")
async def test_unprovable_is_not_removed(left: ObservedInstance, make: MakeSupervisor, directory: Path) -> None:
    """
    If neither handle nor process file can be read while a shim lives, even a tombstone ends nothing; it is said why.
    """
    (directory / "handle.json").write_bytes(b"{")
    (directory / "process.json").write_bytes(b"{")
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until(lambda: "cannot be removed yet" in supervisor.observed()["a1"].message)

    assert supervisor.observed()["a1"].state is State.QUARANTINED
    assert procfs.read(left.pid) is not None


@pytest.mark.promise("P3")
async def test_process_of_another_start_time_is_not_touched(
    left: ObservedInstance, make: MakeSupervisor, directory: Path
) -> None:
    """
    A pid that belongs to another process now is quarantined, and not signalled even by the tombstone.
    """
    os.kill(left.pid, signal.SIGKILL)
    await until(lambda: not shimfiles.lock_held(directory))
    (directory / "exit.json").unlink()
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            _rewrite(directory / "process.json", engine_pid=other.pid)
            handle = msgspec.json.decode((directory / "handle.json").read_bytes())
            handle["handle"]["engine"]["pid"] = other.pid
            (directory / "handle.json").write_bytes(msgspec.json.encode(handle))
            supervisor = make()
            await supervisor.adopt()
            seen = supervisor.observed()["a1"]
            supervisor.apply(desired(tombstones=[tombstone()]))
            await until_gone(supervisor)

            assert seen.state is State.QUARANTINED
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.promise("P3")
async def test_missing_process_file_is_uncertain(left: ObservedInstance, make: MakeSupervisor, directory: Path) -> None:
    """
    A started handle whose process file is gone, and whose shim too, matches in part: kept, not started a second time.
    """
    process = shimfiles.read_process(directory)
    assert process is not None
    os.kill(process.shim_pid, signal.SIGKILL)
    await until(lambda: not shimfiles.lock_held(directory))
    (directory / "process.json").unlink()
    supervisor = make()
    await supervisor.adopt()

    assert supervisor.observed()["a1"].state is State.QUARANTINED
    assert {left.pid: left.pid_start_ticks} == engines(directory.parents[1])

    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)
    assert engines(directory.parents[1]) == {}


async def test_other_boot_means_gone(left: ObservedInstance, make: MakeSupervisor, directory: Path) -> None:
    """
    After the machine restarted nothing is left to adopt: the instance is launched again, whoever has its pid now.
    """
    os.kill(left.pid, signal.SIGKILL)
    await until(lambda: not shimfiles.lock_held(directory))
    for name in ("exit.json", "process.json"):
        (directory / name).unlink()
    handle = msgspec.json.decode((directory / "handle.json").read_bytes())
    handle["handle"]["boot_id"] = "00000000-0000-0000-0000-000000000000"
    (directory / "handle.json").write_bytes(msgspec.json.encode(handle))
    supervisor = make()
    await supervisor.adopt()
    seen = await until_state(supervisor, State.RUNNING)

    assert seen.pid != left.pid


async def test_absent_after_a_restart_is_not_started(
    left: ObservedInstance, make: MakeSupervisor, directory: Path
) -> None:
    """
    What is adopted and not named by the first desired state is quarantined and goes on.
    """
    supervisor = make()
    await supervisor.adopt()
    supervisor.apply(desired())
    await asyncio.sleep(0)

    assert (State.QUARANTINED, left.pid) == (supervisor.observed()["a1"].state, supervisor.observed()["a1"].pid)


@pytest.mark.promise("P1")
async def test_one_that_cannot_be_adopted_costs_itself(
    left: ObservedInstance, make: MakeSupervisor, tmp_path: Path, directory: Path
) -> None:
    """
    An instance that cannot be looked at is quarantined with what is wrong; the agent and the others go on.
    """
    broken = directory.with_name("a0")
    broken.mkdir()
    handle = msgspec.json.decode((directory / "handle.json").read_bytes())
    handle["handle"]["assignment"]["assignment_id"] = "a0"
    (broken / "handle.json").write_bytes(msgspec.json.encode(handle))
    (broken / "lock").mkdir()
    supervisor = make()
    await supervisor.adopt()
    seen = supervisor.observed()

    assert (State.QUARANTINED, State.RUNNING) == (seen["a0"].state, seen["a1"].state)
    assert seen["a1"].pid == left.pid
    assert str(broken) in seen["a0"].message
    assert "motorpool delete" in seen["a0"].message


async def test_control_group_of_a_launch_that_came_to_nothing_is_swept(
    make: MakeSupervisor, data_dir: Path, left: ObservedInstance
) -> None:
    """
    A successor removes the control group of an assignment of which nothing else is left, and no other one.
    """
    example = Cgroups(data_dir).path("never-launched")
    if not example:
        pytest.skip("this host gives no control groups")
    Path(example).mkdir()
    await make().adopt()

    assert not Path(example).exists()
    assert Path(Cgroups(data_dir).path("a1")).exists()


async def test_removal_that_the_disk_refuses_is_tried_again(
    left: ObservedInstance, make: MakeSupervisor, directory: Path
) -> None:
    """
    An instance whose files cannot be removed says so, and is gone once they can.
    """
    trash = directory.with_name(".trash-a1")
    supervisor = make()
    await supervisor.adopt()
    trash.write_text("in the way")
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until(lambda: "cannot be removed yet" in supervisor.observed()["a1"].message)
    trash.unlink()
    await until_gone(supervisor)

    assert not directory.exists()


async def test_one_agent_for_one_data_directory(make: MakeSupervisor, data_dir: Path) -> None:
    """
    A second agent on the same data directory is refused by the directory's name and the first one's pid.
    """
    first, second = make(), make()
    await first.adopt()

    with pytest.raises(DataDirectoryError, match=f"{data_dir} is in use by another agent .pid {os.getpid()}."):
        await second.adopt()
    await first.close()
    await second.adopt()


def _rewrite(path: Path, **changes: int) -> None:
    path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), **changes}))
