"""Kill -9 at every step of an instance's life: the agent, what stands between it and the engine, or both's host."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from motorpool_agent.failpoints import Step
from motorpool_agent.state.directory import DataDirectoryLock
from tests import booted
from tests.agent.runtime.fakes import DEADLINE_SECONDS, desired, free_ports, tombstone
from tests.agent.runtime.kill_matrix.hosts import AFTER, BEFORE, COLUMNS, ENDING, Host
from tests.agent.runtime.kill_matrix.stop import Stop
from tests.agent.runtime.kill_matrix.table import PROPERTY, Result
from tests.agent.runtime.killed_agent import KilledAgent
from tests.conftest import cannot_run_here

AGENT = "agent"
UNITS = "systemd"
RESULTS = "MOTORPOOL_TESTS_KILL_MATRIX"
"""Where cells that run on a machine of their own tell of themselves."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Who is killed at which step, under which executor."""

    executor: str
    victim: str
    step: Step

    def __str__(self) -> str:
        return f"{self.executor}-{self.victim}-{self.step}"


def cells() -> Iterator[Cell]:
    """Every cell of the matrix, executor by executor."""
    for executor, column in COLUMNS.items():
        for step in (*BEFORE, *column.launching, *AFTER, *column.ending, *ENDING):
            yield Cell(executor, AGENT, step)
        for victim, steps in column.victims.items():
            for step in steps:
                yield Cell(executor, victim, step)


@pytest.fixture(scope="module", name="hosts")
def make_hosts() -> Iterator[Callable[[str], Host]]:
    """
    The host of an executor, made for its first cell and kept for all of them.
    """
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda executor: stack.enter_context(COLUMNS[executor].host()))


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, id=str(cell), marks=pytest.mark.xdist_group(f"kill-{cell.executor}"))
        for cell in cells()
        # Units want a machine of their own, and the others are not asked there a second time.
        if (cell.executor == UNITS) == (RESULTS in os.environ)
    ],
)
def test_kill_matrix(
    cell: Cell,
    hosts: Callable[[str], Host],
    data_dir: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """
    Whoever is killed wherever: what was desired comes to be, once, and nothing is left when it is not desired any more.
    """
    stop = Stop(cell.step, tmp_path / "failpoint")
    try:
        _play(cell, hosts(cell.executor), stop, data_dir, tmp_path)
    except BaseException:
        _record(Result(cell.executor, cell.victim, cell.step, stop.hits, passed=False), record_property)
        raise
    _record(Result(cell.executor, cell.victim, cell.step, stop.hits, passed=stop.hits > 0), record_property)
    assert stop.hits


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.promise("P1")
@pytest.mark.needs("systemd-run", "journalctl", "nsenter", "unshare")
@pytest.mark.timeout(600)
@pytest.mark.skipif(RESULTS in os.environ, reason="runs there")
def test_kill_matrix_of_units(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    The cells of units hold on a machine that systemd booted.
    """
    if reason := booted.missing():
        cannot_run_here(reason)
    results = tmp_path / "results"
    with booted.Booted() as machine:
        done = machine.run(
            *("env", f"{RESULTS}={results}", sys.executable, "-m", "pytest", "-q"),
            *("-o", f"cache_dir={tmp_path / 'cache'}", f"--basetemp={tmp_path / 'inside'}", "--color=no", __file__),
        )
    assert results.exists(), done.stdout
    found = [msgspec.json.decode(line, type=Result) for line in results.read_bytes().splitlines()]
    for result in found:
        record_property(PROPERTY, [*result])

    assert done.returncode == 0, done.stdout
    assert {result.step for result in found} == {cell.step for cell in cells() if cell.executor == UNITS}


def _record(result: Result, record_property: Callable[[str, object], None]) -> None:
    record_property(PROPERTY, [*result])
    if RESULTS in os.environ:
        with Path(os.environ[RESULTS]).open("ab") as file:
            file.write(msgspec.json.encode(result) + b"\n")


def _play(cell: Cell, host: Host, stop: Stop, data_dir: Path, tmp_path: Path) -> None:
    ends = cell.step in (*COLUMNS[cell.executor].ending, *ENDING)
    # TERM is not enough for it, so that there is a KILL to be reached.
    wish = host.wish(tmp_path, ignore_term="", grace="0.2")
    ports = free_ports(8).start
    with KilledAgent(data_dir, ports, environment={**host.environment, **stop.environment}) as agent:
        agent.apply(desired(wish))
        if ends:
            agent.until("running")
            agent.apply(desired(tombstones=[tombstone()]))
        stop.until_reached(agent)
        before = host.engines(data_dir)
        if cell.victim == AGENT:
            agent.kill()
        else:
            host.kill(cell.victim, data_dir)
            stop.let_go()
            host.mend(cell.victim)
            _goes_on(agent, host, before, data_dir, ends=ends)
    if cell.victim == AGENT:
        with KilledAgent(data_dir, ports, environment=host.environment) as successor:
            _goes_on(successor, host, before, data_dir, ends=ends)
    _nothing_is_left(host, data_dir)


def _goes_on(agent: KilledAgent, host: Host, before: Mapping[str, int], data_dir: Path, *, ends: bool) -> None:
    """Hold that an engine runs, the same if there was one; then, in any case, that it ends by the tombstone."""
    if not ends:
        _, pid, _ = agent.until("running")
        after = host.engines(data_dir)
        assert [pid] == list(after.values())
        assert before in ({}, after)
        assert {"a1"} == {*agent.ports.values()}
        assert 1 == len(agent.ports)
        agent.apply(desired(tombstones=[tombstone()]))
    agent.until_gone("a1")
    assert {} == agent.ports


def _nothing_is_left(host: Host, data_dir: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    # The kernel takes its moment to clear away what was killed.
    while (left := host.left(data_dir)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [] == left
    assert [] == list((data_dir / "instances").iterdir())
    DataDirectoryLock(data_dir).release()


def test_every_step_is_in_the_matrix() -> None:
    """
    A new step is killed at, under some executor, or this fails.
    """
    assert {*get_args(Step)} == {cell.step for cell in cells()}
