"""Engines that fail: what is kept of it, and what is tried again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from motorpool_agent.reconcile.observation import Failure, State
from motorpool_agent.runtime import procfs
from motorpool_agent.runtime.context import Timings
from motorpool_agent.runtime.supervisor import Supervisor
from tests.agent.runtime.fakes import (
    ServerBackends,
    assignment,
    desired,
    free_ports,
    tombstone,
    until,
    until_gone,
    until_state,
)


async def test_exit_is_kept(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An engine that exits and is not to be restarted stays an error, with status and the last 200 lines.
    """
    supervisor.apply(desired(assignment(tmp_path, restart=False, chatter="300", exit="3")))
    failure = _failure(await until_state(supervisor, State.ERROR))

    assert ("EXITED", 3, None, False) == (
        failure.reason,
        failure.exit_code,
        failure.signal,
        failure.out_of_memory,
    )
    assert [f"line {number} " for number in range(100, 300)] == list(failure.log_tail)


async def test_signal_is_kept(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An engine that a signal ended says which one, and has no exit status.
    """
    supervisor.apply(desired(assignment(tmp_path, restart=False, abort="")))
    failure = _failure(await until_state(supervisor, State.ERROR))

    assert ("EXITED", None, signal.SIGABRT) == (failure.reason, failure.exit_code, failure.signal)


async def test_program_that_is_not_there(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    A command that cannot be executed is an error with the system's words; what was to be executed is shown.
    """
    supervisor.apply(desired(assignment(tmp_path, restart=False, program="/nowhere/engine")))
    seen = await until_state(supervisor, State.ERROR)

    assert _failure(seen).reason == "EXEC_FAILED"
    assert "No such file or directory: /nowhere/engine" in seen.message
    assert seen.launch is not None
    assert seen.launch.argv[0] == "/nowhere/engine"


async def test_killed_engine_is_restarted(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An engine that somebody kills is started again, on the port it had; the failure is kept and the restart counted.
    """
    supervisor.apply(desired(assignment(tmp_path)))
    before = await until_state(supervisor, State.RUNNING)
    os.kill(before.pid, signal.SIGKILL)
    await until(lambda: supervisor.observed()["a1"].restart_count == 1)
    after = await until_state(supervisor, State.RUNNING)

    assert before.pid != after.pid
    assert _failure(after).signal == signal.SIGKILL
    assert (before.launch.ports if before.launch else None) == (after.launch.ports if after.launch else 0)


async def test_first_and_last_failure_are_kept(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    Over several tries the first failure stays, and the last one is the latest.
    """
    supervisor.apply(desired(assignment(tmp_path, exit="1")))
    await until(lambda: supervisor.observed()["a1"].restart_count >= 2)
    seen = await until_state(supervisor, State.ERROR)

    assert seen.first_failure is not None
    assert seen.first_failure.time < _failure(seen).time


async def test_restarts_are_forgotten_after_it_ran_well(make: Callable[..., Supervisor], tmp_path: Path) -> None:
    """
    The count of restarts and the first failure are cleared when the engine ran without a fault for a while.
    """
    supervisor = make(timings=Timings(backoff_scale=0.01, well_seconds=0.2, health_period_seconds=0.05))
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path)))
    seen = await until_state(supervisor, State.RUNNING)
    os.kill(seen.pid, signal.SIGKILL)
    await until(lambda: supervisor.observed()["a1"].restart_count == 1)
    await until(lambda: supervisor.observed()["a1"].restart_count == 0)
    seen = supervisor.observed()["a1"]

    assert (State.RUNNING, None) == (seen.state, seen.first_failure)
    assert _failure(seen).signal == signal.SIGKILL


async def test_start_has_a_deadline(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An engine that is not ready in time is stopped, and that is its failure.
    """
    supervisor.apply(desired(assignment(tmp_path, restart=False, never_ready="", start_timeout="0.5")))
    await until(lambda: supervisor.observed()["a1"].pid)
    pid = supervisor.observed()["a1"].pid
    failure = _failure(await until_state(supervisor, State.ERROR))

    assert failure.reason == "START_TIMEOUT"
    assert procfs.read(pid) is None


async def test_preparing_without_progress_has_a_deadline(
    make: Callable[..., Supervisor], tmp_path: Path, backends: ServerBackends
) -> None:
    """
    A launch that waits for a plugin which is never ready fails, says for what it waited, and is tried again.
    """
    backends.ready.clear()
    supervisor = make(timings=Timings(backoff_scale=0.01, stalled_seconds=0.2))
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path)))
    await until(lambda: supervisor.observed()["a1"].last_failure)
    failure = _failure(supervisor.observed()["a1"])
    backends.ready.set()

    assert failure.reason == "PREPARATION_STALLED"
    assert "no further for 0.2 s (waiting for the plugin of server)" in failure.message
    assert (await until_state(supervisor, State.RUNNING)).first_failure == failure


async def test_engine_that_names_its_model_is_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An engine whose list of models names the one that it is to serve runs.
    """
    supervisor.apply(desired(assignment(tmp_path, models="chat")))

    assert (await until_state(supervisor, State.RUNNING)).pid


async def test_engine_that_serves_another_model_is_not_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An engine that is well, but names another model, is not ready; the failure says what it names.
    """
    supervisor.apply(desired(assignment(tmp_path, restart=False, models="other", start_timeout="0.5")))
    failure = _failure(await until_state(supervisor, State.ERROR))

    assert failure.reason == "START_TIMEOUT"
    assert "(/v1/models names other, not chat)" in failure.message


async def test_next_try_is_told_while_it_is_waited_for(make: Callable[..., Supervisor], tmp_path: Path) -> None:
    """
    A failed instance says when it is launched again, each time later, and nothing once it is not.
    """
    supervisor = make(timings=Timings(backoff_scale=0.01))
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path, exit="1")))
    waits = []
    for restarts in (1, 2):
        await until(lambda: supervisor.observed()["a1"].restart_count == restarts)  # noqa: B023  # awaited here
        # Between two failures it is never one that nobody tries again.
        seen = await until_state(supervisor, State.ERROR)
        assert seen.next_try_time is not None
        waits.append((seen.next_try_time - _failure(seen).time).total_seconds())
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until(lambda: "a1" not in supervisor.observed() or supervisor.observed()["a1"].next_try_time is None)

    assert waits[0] < waits[1]


async def test_engine_that_ignores_term_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An engine that does not end on TERM is killed after its grace.
    """
    supervisor.apply(desired(assignment(tmp_path, ignore_term="", grace="0.3")))
    seen = await until_state(supervisor, State.RUNNING)
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)

    assert procfs.read(seen.pid) is None


async def test_grandchildren_in_their_own_session_end_too(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    A process that an engine left in a session of its own, and that ignores TERM, is ended with it.
    """
    file = tmp_path / "stray"
    supervisor.apply(desired(assignment(tmp_path, stray=str(file), grace="0.3")))
    await until_state(supervisor, State.RUNNING)
    await until(file.exists)
    stray = int(file.read_text())
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)

    assert not _lives(stray)


async def test_remains_of_a_crash_are_ended_before_the_restart(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    When an engine dies alone, what it left is ended before it is launched again.
    """
    file = tmp_path / "stray"
    supervisor.apply(desired(assignment(tmp_path, restart=False, stray=str(file))))
    seen = await until_state(supervisor, State.RUNNING)
    await until(file.exists)
    os.kill(seen.pid, signal.SIGKILL)
    await until_state(supervisor, State.ERROR)

    assert not _lives(int(file.read_text()))


async def test_port_taken_in_between_is_left_to_its_taker(
    supervisor: Supervisor, tmp_path: Path, backends: ServerBackends
) -> None:
    """
    If another program takes the port just before the launch, the next port is tried, and that is no failure.
    """
    supervisor.apply(desired(assignment(tmp_path, rival="")))
    seen = await until_state(supervisor, State.RUNNING)
    assert backends.rival is not None
    backends.rival.close()

    assert [request.port for request in backends.requests] == [
        backends.requests[0].port,
        backends.requests[0].port + 1,
    ]
    assert (0, None) == (seen.restart_count, seen.last_failure)


async def test_no_free_port_says_how_to_widen(make: Callable[..., Supervisor], tmp_path: Path) -> None:
    """
    With every port of the range held, an assignment is an error that names the range and the setting.
    """
    port = free_ports(1).start
    supervisor = make(ports=range(port, port + 1))
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path)))
    await until_state(supervisor, State.RUNNING)
    supervisor.apply(desired(assignment(tmp_path), assignment(tmp_path, "a2")))
    seen = await until_state(supervisor, State.ERROR, "a2")

    assert _failure(seen).reason == "NO_FREE_PORT"
    assert f"{port}-{port}" in seen.message
    assert "--port-range" in seen.message


async def test_engine_that_stops_answering_is_left_running(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An engine whose health check fails for long is reported, and is not ended.
    """
    supervisor.apply(desired(assignment(tmp_path)))
    seen = await until_state(supervisor, State.RUNNING)
    os.kill(seen.pid, signal.SIGSTOP)
    await until(lambda: "does not answer" in supervisor.observed()["a1"].message)
    stopped = supervisor.observed()["a1"]
    os.kill(seen.pid, signal.SIGCONT)
    await until(lambda: not supervisor.observed()["a1"].message)

    assert (State.RUNNING, seen.pid) == (stopped.state, stopped.pid)


def _failure(seen: object) -> Failure:
    failure = getattr(seen, "last_failure", None)
    assert isinstance(failure, Failure)
    return failure


def _lives(pid: int) -> bool:
    stat = procfs.read(pid)
    return stat is not None and stat.alive
