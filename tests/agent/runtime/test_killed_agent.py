"""The agent is killed with SIGKILL in every state; what it ran goes on, and its successor adopts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from motorpool_agent.reconcile.handle import Phase
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_agent.state.handles import Handles
from tests.agent.runtime.fakes import assignment, desired, free_ports, tombstone, until, until_gone, until_state
from tests.agent.runtime.killed_agent import KilledAgent, engines

pytestmark = [pytest.mark.promise("P1"), pytest.mark.e2e]

MakeSupervisor = Callable[..., Supervisor]


@pytest.fixture(name="agent")
def _agent(data_dir: Path) -> Iterator[KilledAgent]:
    with KilledAgent(data_dir, free_ports(8).start) as agent:
        yield agent


async def test_running_is_adopted(agent: KilledAgent, make: MakeSupervisor, tmp_path: Path, data_dir: Path) -> None:
    """
    An engine that runs when the agent dies has the same pid and start ticks under its successor, and was adopted.
    """
    agent.apply(desired(assignment(tmp_path)))
    _, pid, _ = agent.until("running")
    before = engines(data_dir)
    agent.kill()
    supervisor = make()
    await supervisor.adopt()
    seen = supervisor.observed()["a1"]

    assert before == engines(data_dir) == {pid: seen.pid_start_ticks}
    assert (State.RUNNING, pid, True) == (seen.state, seen.pid, seen.adopted)


async def test_starting_is_adopted(agent: KilledAgent, make: MakeSupervisor, tmp_path: Path, data_dir: Path) -> None:
    """
    An engine that is not ready yet when the agent dies goes on starting under its successor.
    """
    agent.apply(desired(assignment(tmp_path, never_ready="")))
    agent.until("starting")
    agent.until_file("process.json")
    agent.kill()
    await until(lambda: engines(data_dir))
    before = engines(data_dir)
    supervisor = make()
    await supervisor.adopt()
    await until(lambda: supervisor.observed()["a1"].pid)
    seen = supervisor.observed()["a1"]

    assert before == engines(data_dir) == {seen.pid: seen.pid_start_ticks}
    assert (State.STARTING, True) == (seen.state, seen.adopted)


async def test_stopping_is_adopted_and_stopped_by_the_tombstone(
    agent: KilledAgent, make: MakeSupervisor, tmp_path: Path, data_dir: Path
) -> None:
    """
    An agent that dies while it stops an engine leaves it to its successor, which needs the tombstone to go on.
    """
    agent.apply(desired(assignment(tmp_path, ignore_term="", grace="60")))
    agent.until("running")
    before = engines(data_dir)
    agent.apply(desired(tombstones=[tombstone()]))
    agent.until("stopping")
    agent.kill()
    supervisor = make()
    await supervisor.adopt()
    seen = await until_state(supervisor, State.RUNNING)

    assert before == engines(data_dir) == {seen.pid: seen.pid_start_ticks}


async def test_failed_is_tried_again(agent: KilledAgent, make: MakeSupervisor, tmp_path: Path, data_dir: Path) -> None:
    """
    An engine whose failures the agent was waiting out keeps its history under the successor, which tries again.
    """
    agent.apply(desired(assignment(tmp_path, exit="3")))
    agent.until("error")
    await until(lambda: _failures(data_dir) >= 1)
    agent.kill()
    supervisor = make()
    await supervisor.adopt()
    seen = supervisor.observed()["a1"]
    await until(lambda: supervisor.observed()["a1"].restart_count > seen.restart_count)

    first = supervisor.observed()["a1"].first_failure
    assert first is not None
    assert ("EXITED", 3) == (first.reason, first.exit_code)


async def test_between_handle_and_exec(make: MakeSupervisor, tmp_path: Path, data_dir: Path) -> None:
    """
    An agent killed after its handle is on disk and before the engine is executed leaves no engine or exactly one.
    """
    hits = 0
    for number in range(40):
        name = f"a{number}"
        with KilledAgent(data_dir, free_ports(8).start) as agent:
            agent.apply(desired(assignment(tmp_path, name)))
            agent.until_file("handle.json", name)
            agent.kill()
        handle = Handles(data_dir).read(name)
        hits += handle.phase is Phase.PREPARED and not (data_dir / "instances" / name / "process.json").exists()
        supervisor = make()
        await supervisor.adopt()
        seen = await until_state(supervisor, State.RUNNING, name)

        assert engines(data_dir, name) == {seen.pid: seen.pid_start_ticks}

        supervisor.apply(desired(tombstones=[tombstone(name)]))
        await until_gone(supervisor, name)
        await supervisor.close()
        if hits >= 3:
            return
    pytest.fail(f"hit the gap only {hits} times")


async def test_killed_again_and_again(make: MakeSupervisor, tmp_path: Path, data_dir: Path) -> None:
    """
    However often and whenever agents are killed, there is one engine, and from its process file on it stays the same.
    """
    ports = free_ports(8).start
    wish = assignment(tmp_path)
    known: dict[int, int] = {}
    for number in range(12):
        with KilledAgent(data_dir, ports) as agent:
            agent.apply(desired(wish))
            agent.until_reported()
            # Not to wait for anything: to hit another moment each time.
            time.sleep(number * 0.003)  # noqa: ASYNC251
            agent.kill()
        found = engines(data_dir)
        if known:
            assert found == known
        assert len(found) <= 1
        if (data_dir / "instances" / "a1" / "process.json").exists():
            await until(lambda: engines(data_dir))
            known = engines(data_dir)
    supervisor = make(ports=range(ports, ports + 8))
    await supervisor.adopt()
    supervisor.apply(desired(wish))
    seen = await until_state(supervisor, State.RUNNING)

    assert engines(data_dir) == {seen.pid: seen.pid_start_ticks}
    assert not known or known == engines(data_dir)


def _failures(data_dir: Path) -> int:
    try:
        content = (data_dir / "instances" / "a1" / "handle.json").read_bytes()
    except OSError:
        return 0
    return int(msgspec.json.decode(content)["handle"]["restart_count"])
