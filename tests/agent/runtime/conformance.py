"""What every executor must do, asked through the supervisor. A subclass names one, and says what shows an engine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from motorpool_agent.reconcile.assignment import Assignment, LogSubscription
from motorpool_agent.reconcile.handle import Phase
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime import procfs
from motorpool_agent.runtime.errors import RuntimeFault
from motorpool_agent.runtime.probe import ready
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_agent.state.handles import Handles
from tests.agent.runtime.fakes import (
    DEADLINE_SECONDS,
    ServerBackends,
    assignment,
    desired,
    free_ports,
    tombstone,
    until,
    until_gone,
    until_state,
)
from tests.agent.runtime.killed_agent import KilledAgent

MakeSupervisor = Callable[..., Supervisor]


class ExecutorContract:
    """The contract of ``runtime.executor.Executor``."""

    executor: str

    @pytest.fixture(name="wish")
    def make_wish(self, tmp_path: Path) -> Callable[..., Assignment]:
        """
        Makes assignments that this executor executes.
        """
        return lambda *given, **options: assignment(tmp_path, *given, **options)

    @pytest.fixture(name="agent")
    def make_agent(self, data_dir: Path) -> Iterator[KilledAgent]:
        """
        An agent in a process of its own.
        """
        with KilledAgent(data_dir, free_ports(8).start) as agent:
            yield agent

    def engines(self, data_dir: Path, assignment_id: str = "a1") -> Mapping[str, int]:
        """Return the living engines of an assignment: what names one for certain, and the pid that is reported."""
        raise NotImplementedError

    async def test_runs(self, supervisor: Supervisor, wish: Callable[..., Assignment], data_dir: Path) -> None:
        """
        A launch becomes ready, is reported with its executor, command, port and first process, and holds memory.
        """
        supervisor.apply(desired(wish()))
        seen = await until_state(supervisor, State.RUNNING)
        assert seen.launch is not None

        assert self.executor == seen.launch.executor
        assert str(seen.launch.ports["http"]) in seen.launch.argv
        assert [seen.pid] == list(self.engines(data_dir).values())
        identity = procfs.identify(seen.pid)
        assert identity is not None
        assert identity.start_ticks == seen.pid_start_ticks
        assert any(supervisor.memory_used().values())

    async def test_local_is_not_reached_from_outside(
        self, supervisor: Supervisor, wish: Callable[..., Assignment]
    ) -> None:
        """
        The port of a local instance is open on the loopback address only.
        """
        supervisor.apply(desired(wish()))
        seen = await until_state(supervisor, State.RUNNING)
        assert seen.launch is not None
        port = seen.launch.ports["http"]
        listening = {
            one.laddr.ip
            for one in psutil.net_connections("tcp")
            if one.laddr and one.status == psutil.CONN_LISTEN and one.laddr.port == port
        }

        assert {"127.0.0.1"} == listening

    async def test_environment(
        self, supervisor: Supervisor, wish: Callable[..., Assignment], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The engine gets the backend's variables and secrets, and none of the agent's own.
        """
        monkeypatch.setenv("OWN_SETTING", "the agent's")
        supervisor.apply(desired(wish(environment="")))
        seen = await until_state(supervisor, State.RUNNING)
        lines: list[str] = []

        async def whole() -> bool:
            lines[:] = await _log(supervisor)
            return any(line.startswith(("_=", "TZ=", "PATH=")) for line in lines)

        await _until(whole)

        # It has the key, which no reader of its log gets.
        assert {"ENGINE_SETTING=on", "ENGINE_API_KEY=***"} <= set(lines)
        assert not [line for line in lines if "OWN_SETTING" in line]
        assert "s3cret-key" not in str((seen.launch, lines))

    async def test_log_is_followed(self, supervisor: Supervisor, wish: Callable[..., Assignment]) -> None:
        """
        A log is whole, in order, and goes on as the engine writes.
        """
        supervisor.apply(desired(wish(chatter="2000", width="60")))
        seen = await until_state(supervisor, State.RUNNING)
        assert seen.launch is not None
        lines: list[str] = []
        subscription = LogSubscription(subscription_id="s", assignment_id="a1", tail_lines=-1, follow=True)
        async with contextlib.aclosing(supervisor.lines(subscription)) as batches, asyncio.timeout(DEADLINE_SECONDS):
            async for batch in batches:
                lines += batch.lines
                if lines[-1] == f"line 1999 {'x' * 60}":
                    assert (await ready("127.0.0.1", seen.launch.ports["http"], "/say", 5)).ready
                if lines[-1] == "said":
                    break

        assert [f"line {number} {'x' * 60}" for number in range(2000)] == lines[1:-1]

    async def test_long_line_is_whole(self, supervisor: Supervisor, wish: Callable[..., Assignment]) -> None:
        """
        A line longer than a pipe's or a log driver's unit is one line.
        """
        supervisor.apply(desired(wish(chatter="2", width="20000")))
        await until_state(supervisor, State.RUNNING)

        async def whole() -> bool:
            return (await _log(supervisor))[1:] == [f"line {number} {'x' * 20000}" for number in range(2)]

        await _until(whole)

    async def test_exit_status(self, supervisor: Supervisor, wish: Callable[..., Assignment]) -> None:
        """
        An engine that exits is an error with its status and the end of its log.
        """
        supervisor.apply(desired(wish(restart=False, exit="3")))
        seen = await until_state(supervisor, State.ERROR)
        assert seen.last_failure is not None

        assert ("EXITED", 3, None) == (
            seen.last_failure.reason,
            seen.last_failure.exit_code,
            seen.last_failure.signal,
        )
        assert any(line.startswith("engine ") for line in seen.last_failure.log_tail)

    async def test_attempts_are_kept(
        self, supervisor: Supervisor, wish: Callable[..., Assignment], backends: ServerBackends
    ) -> None:
        """
        Of a row of failures the first and the last four are kept, each with its times, status, last lines and log.
        """
        began = datetime.now(UTC)
        supervisor.apply(desired(wish(exit="3", environment="")))
        await until(lambda: supervisor.observed()["a1"].restart_count >= 6)
        seen = supervisor.observed()["a1"]
        ended = datetime.now(UTC)
        first, *last = seen.attempts

        assert [1, *range(last[-1].number - 3, last[-1].number + 1)] == [first.number, *(each.number for each in last)]
        assert seen.attempt in {last[-1].number, last[-1].number + 1}
        for attempt in seen.attempts:
            assert attempt.begin_time is not None
            assert began <= attempt.begin_time <= attempt.failure.time <= ended
            assert (True, "EXITED", 3) == (attempt.executed, attempt.failure.reason, attempt.failure.exit_code)
            assert f"--attempt {attempt.number}`" in attempt.failure.message
            assert attempt.failure.log_tail
        assert first.failure == replace(seen.first_failure or first.failure, log_tail=first.failure.log_tail)
        log = await _log(supervisor, attempt=1)
        assert log[0].startswith("engine ")
        assert log[-len(first.failure.log_tail) :] == list(first.failure.log_tail)
        assert "s3cret-key" not in str((seen, log))
        with pytest.raises(RuntimeFault, match="no log is kept of attempt 2"):
            await _log(supervisor, attempt=2)

    async def test_attempts_outlive_the_agent(self, make: MakeSupervisor, wish: Callable[..., Assignment]) -> None:
        """
        The next agent knows the attempts that failed before, and counts on.
        """
        supervisor = make()
        await supervisor.adopt()
        supervisor.apply(desired(wish(exit="3")))
        await until(lambda: len(supervisor.observed()["a1"].attempts) == 2)
        await supervisor.close()
        before = supervisor.observed()["a1"].attempts
        supervisor = make()
        await supervisor.adopt()
        await until(lambda: supervisor.observed()["a1"].attempt > before[-1].number)
        await until(lambda: supervisor.observed()["a1"].attempts[-1].number > before[-1].number)

        assert before[0] == supervisor.observed()["a1"].attempts[0]

    async def test_log_since(self, supervisor: Supervisor, wish: Callable[..., Assignment]) -> None:
        """
        Lines have the time at which they were written, by which a reader may leave out those of before.
        """
        began = datetime.now(UTC)
        supervisor.apply(desired(wish(chatter="20", width="60")))
        seen = await until_state(supervisor, State.RUNNING)
        assert seen.launch is not None
        between = datetime.now(UTC)
        await asyncio.sleep(0.01)  # times of a journal are of microseconds, of a clock that may be read out of turn
        assert (await ready("127.0.0.1", seen.launch.ports["http"], "/say", 5)).ready

        async def said() -> bool:
            return (await _log(supervisor, since_time=between)) == ["said"]

        await _until(said)
        stamped = await _log(supervisor, timestamps=True)
        times = [datetime.fromisoformat(line.split(" ")[0]) for line in stamped]

        assert 22 == len(stamped)
        assert sorted(times) == times
        assert began <= times[0] <= between <= times[-1]
        assert 22 == len(await _log(supervisor, since_seconds=3600.0))

    async def test_signal(self, supervisor: Supervisor, wish: Callable[..., Assignment]) -> None:
        """
        An engine that a signal ended is an error that names the signal.
        """
        supervisor.apply(desired(wish(restart=False, abort="")))
        seen = await until_state(supervisor, State.ERROR)
        assert seen.last_failure is not None

        assert (None, signal.SIGABRT) == (seen.last_failure.exit_code, seen.last_failure.signal)

    async def test_program_that_is_not_there(self, supervisor: Supervisor, wish: Callable[..., Assignment]) -> None:
        """
        What cannot be executed is an error that says so.
        """
        supervisor.apply(desired(wish(restart=False, program="/no/such/program")))
        seen = await until_state(supervisor, State.ERROR)
        assert seen.last_failure is not None

        assert "EXEC_FAILED" == seen.last_failure.reason

    async def test_port_taken_in_between(
        self, supervisor: Supervisor, wish: Callable[..., Assignment], backends: ServerBackends
    ) -> None:
        """
        If another program takes the port just before the launch, another port is tried, and that is no failure.
        """
        supervisor.apply(desired(wish(rival="")))
        seen = await until_state(supervisor, State.RUNNING)
        assert backends.rival is not None
        backends.rival.close()
        assert seen.launch is not None

        assert backends.requests[0].port != seen.launch.ports["http"]
        assert (0, None) == (seen.restart_count, seen.last_failure)

    async def test_killed_engine_is_started_again(
        self, supervisor: Supervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        An engine that is killed runs again, once, and the log before is the previous one.
        """
        supervisor.apply(desired(wish()))
        before = await until_state(supervisor, State.RUNNING)
        psutil.Process(before.pid).kill()
        await until(lambda: supervisor.observed()["a1"].restart_count == 1)
        after = await until_state(supervisor, State.RUNNING)
        previous = await _log(supervisor, attempt=-1)

        assert before.pid != after.pid
        assert 1 == len(self.engines(data_dir))
        assert after.last_failure is not None
        assert signal.SIGKILL == after.last_failure.signal
        assert previous
        assert previous[0].startswith("engine ")

    async def test_never_ready(self, supervisor: Supervisor, wish: Callable[..., Assignment], data_dir: Path) -> None:
        """
        An engine that does not become ready in time is stopped, and is an error.
        """
        supervisor.apply(desired(wish(restart=False, never_ready="", start_timeout="2")))
        seen = await until_state(supervisor, State.ERROR)
        assert seen.last_failure is not None

        assert "START_TIMEOUT" == seen.last_failure.reason
        assert {} == self.engines(data_dir)

    async def test_tombstone_leaves_nothing(
        self, supervisor: Supervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        A tombstone ends the engine and removes what it left.
        """
        supervisor.apply(desired(wish()))
        await until_state(supervisor, State.RUNNING)
        supervisor.apply(desired(tombstones=[tombstone()]))
        await until_gone(supervisor)

        assert {} == self.engines(data_dir)
        assert not (data_dir / "instances" / "a1").exists()

    async def test_term_is_not_enough(
        self, supervisor: Supervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        An engine that ignores TERM is killed after its grace.
        """
        supervisor.apply(desired(wish(ignore_term="", grace="1")))
        await until_state(supervisor, State.RUNNING)
        supervisor.apply(desired(tombstones=[tombstone()]))
        await until_gone(supervisor)

        assert {} == self.engines(data_dir)

    async def test_higher_generation_replaces(
        self, supervisor: Supervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        A higher generation ends the engine of the lower one, and runs alone.
        """
        supervisor.apply(desired(wish()))
        before = await until_state(supervisor, State.RUNNING)
        supervisor.apply(desired(wish(generation=2)))
        await until(lambda: supervisor.observed()["a1"].generation == 2)
        after = await until_state(supervisor, State.RUNNING)

        assert before.pid != after.pid
        assert [after.pid] == list(self.engines(data_dir).values())

    @pytest.mark.promise("P1")
    async def test_adopted(self, make: MakeSupervisor, wish: Callable[..., Assignment], data_dir: Path) -> None:
        """
        What runs is adopted by the next agent as the same engine, and its log goes on with nothing lost or twice.
        """
        supervisor = make()
        await supervisor.adopt()
        supervisor.apply(desired(wish()))
        before = await until_state(supervisor, State.RUNNING)
        assert before.launch is not None
        engines = self.engines(data_dir)
        await supervisor.close()
        assert (await ready("127.0.0.1", before.launch.ports["http"], "/say", 5)).ready
        supervisor = make()
        await supervisor.adopt()
        after = supervisor.observed()["a1"]

        async def said() -> bool:
            return (await _log(supervisor))[1:] == ["said"]

        assert (State.RUNNING, before.pid, before.pid_start_ticks, before.launch, True) == (
            after.state,
            after.pid,
            after.pid_start_ticks,
            after.launch,
            after.adopted,
        )
        assert engines == self.engines(data_dir)
        await _until(said)

    async def test_end_in_the_agents_absence_is_known(
        self, make: MakeSupervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        What ended while no agent ran is started again, and how it ended is known.
        """
        supervisor = make()
        await supervisor.adopt()
        supervisor.apply(desired(wish()))
        before = await until_state(supervisor, State.RUNNING)
        await supervisor.close()
        psutil.Process(before.pid).kill()
        await until(lambda: not self.engines(data_dir))
        supervisor = make()
        await supervisor.adopt()
        # What is still being ended is taken over for a moment, without a process.
        await until(lambda: self.engines(data_dir))
        after = await until_state(supervisor, State.RUNNING)

        assert before.pid != after.pid
        assert after.last_failure is not None
        assert signal.SIGKILL == after.last_failure.signal

    @pytest.mark.promise("P3")
    async def test_absence_ends_nothing(
        self, make: MakeSupervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        What the controller does not name goes on, quarantined.
        """
        supervisor = make()
        await supervisor.adopt()
        supervisor.apply(desired(wish()))
        seen = await until_state(supervisor, State.RUNNING)
        supervisor.apply(desired())

        assert State.QUARANTINED is supervisor.observed()["a1"].state
        assert [seen.pid] == list(self.engines(data_dir).values())

    @pytest.mark.promise("P3")
    async def test_handle_that_cannot_be_read(
        self, make: MakeSupervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        An engine whose handle cannot be read is quarantined and lives; a tombstone, and nothing else, ends it.
        """
        supervisor = make()
        await supervisor.adopt()
        supervisor.apply(desired(wish()))
        seen = await until_state(supervisor, State.RUNNING)
        await supervisor.close()
        (data_dir / "instances" / "a1" / "handle.json").write_bytes(b"{")
        supervisor = make()
        await supervisor.adopt()
        supervisor.apply(desired(wish(generation=2)))

        assert State.QUARANTINED is supervisor.observed()["a1"].state
        assert [seen.pid] == list(self.engines(data_dir).values())

        supervisor.apply(desired(tombstones=[tombstone(generation=2)]))
        await until_gone(supervisor)
        assert {} == self.engines(data_dir)

    @pytest.mark.promise("P1")
    async def test_agent_killed_while_running(
        self, agent: KilledAgent, make: MakeSupervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        An engine that runs when its agent is killed is adopted as the same one.
        """
        agent.apply(desired(wish()))
        agent.until("running")
        before = self.engines(data_dir)
        agent.kill()
        supervisor = make()
        await supervisor.adopt()
        seen = await until_state(supervisor, State.RUNNING)

        assert before == self.engines(data_dir)
        assert ([seen.pid], True) == (list(before.values()), seen.adopted)

    @pytest.mark.promise("P1")
    async def test_agent_killed_while_stopping(
        self, agent: KilledAgent, make: MakeSupervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        An agent that is killed while it stops an engine leaves a successor that comes to the end of it.
        """
        agent.apply(desired(wish(ignore_term="", grace="2")))
        agent.until("running")
        agent.apply(desired(tombstones=[tombstone()]))
        agent.until("stopping")
        agent.kill()
        supervisor = make()
        await supervisor.adopt()
        supervisor.apply(desired(tombstones=[tombstone()]))
        await until_gone(supervisor)

        assert {} == self.engines(data_dir)

    @pytest.mark.promise("P1")
    @pytest.mark.timeout(300)
    async def test_agent_killed_between_handle_and_execution(
        self, make: MakeSupervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        An agent killed after its handle is on disk and before it knows of a start leaves no engine or exactly one.
        """
        hits = 0
        for number in range(40):
            name = f"a{number}"
            with KilledAgent(data_dir, free_ports(8).start) as agent:
                agent.apply(desired(wish(name)))
                agent.until_file("handle.json", name)
                # Further into it each time.
                await asyncio.sleep(0.03 * (number % 10))
                agent.kill()
            hits += Handles(data_dir).read(name).phase is Phase.PREPARED
            before = self.engines(data_dir, name)
            supervisor = make()
            await supervisor.adopt()
            seen = await until_state(supervisor, State.RUNNING, name)
            after = self.engines(data_dir, name)

            assert [seen.pid] == list(after.values())
            assert before in ({}, after)

            supervisor.apply(desired(tombstones=[tombstone(name)]))
            await until_gone(supervisor, name)
            await supervisor.close()
            if hits >= 3 and number >= 9:
                return
        assert hits, "never hit the gap"


async def _log(supervisor: Supervisor, **wanted: Any) -> list[str]:
    subscription = LogSubscription(**{"subscription_id": "s", "assignment_id": "a1", "tail_lines": -1, **wanted})
    return [line async for batch in supervisor.lines(subscription) for line in batch.lines]


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():  # noqa: ASYNC110  # a file grows
            await asyncio.sleep(0.02)
