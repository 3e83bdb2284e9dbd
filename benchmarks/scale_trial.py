"""One size of ``scale``: a controller with so many agents, from their first session to after its restart."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.figures import BenchmarkError
from benchmarks.raw_echo import running_echo
from benchmarks.scale_client import Client, until
from benchmarks.scale_fleet import POOL_NODES, Agents, Controller, State, agents, allow_files, plant

DIALS_PER_SECOND = 150
"""At which a fleet begins that never was: nobody switches ten thousand machines on at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the parts of a trial are."""

    settle_seconds: float = 5.0
    idle_periods: float = 2.0
    """Heartbeats of each agent over which idling is measured."""
    rounds: int = 1
    reads: int = 1_000
    deploys: int = 50
    away_seconds: float = 30.0
    patience_seconds: float = 240.0
    settings: str = ""
    """Of the controller, in TOML; figures are of the defaults."""


@dataclass(slots=True, kw_only=True)
class Found:
    """What was measured of one size. Several values are those of the rounds."""

    agents: int
    period_seconds: float = 0.0
    join_seconds: float = 0.0
    empty_bytes: int = 0
    """Resident memory of the controller before any agent came."""
    resident_bytes: int = 0
    cores: list[float] = field(default_factory=list)
    heartbeat_us: list[float] = field(default_factory=list)
    echo_us: list[float] = field(default_factory=list)
    writes: int = 0
    """Changes that were written while agents did nothing but live."""
    idle_agent_minutes: float = 0.0
    placed_per_second: float = 0.0
    read_nodes_ms: list[float] = field(default_factory=list)
    read_instances_ms: list[float] = field(default_factory=list)
    answered_ms: list[float] = field(default_factory=list)
    """Deployments of one replica: until CreateDeployment answered."""
    told_ms: list[float] = field(default_factory=list)
    """And until a watch told where it is placed."""
    restart_seconds: float = 0.0
    restart_cpu_seconds: float = 0.0
    restarted_bytes: int = 0
    ready: int = 0
    """Nodes that the controller calls ready after its restart."""
    instances: int = 0
    kept: int = 0
    """Those of the instances that run after the restart as they did before it."""
    lost: int = 0
    """Instances that an agent was told to end, or to start anew."""


def trial(count: int, pace: Pace) -> Found:
    """Measure one size."""
    allow_files(count)
    with tempfile.TemporaryDirectory(prefix="motorpool-bench-") as name:
        controller = Controller(Path(name), pace.settings)
        controller.init()
        tell(count, "making certificates")
        files = plant(controller, count)
        with agents(files) as crowd:
            try:
                found = asyncio.run(_Trial(controller, crowd, count, pace).run())
            finally:
                controller.stop()
            _echo(controller, crowd, found, pace)
        return found


class _Trial:
    """What is done with a controller, in its order."""

    def __init__(self, controller: Controller, crowd: Agents, count: int, pace: Pace) -> None:
        self._controller = controller
        self._crowd = crowd
        self._pace = pace
        self._count = count
        self._found = Found(agents=count)

    async def run(self) -> Found:
        """Do it."""
        self._controller.begin()
        async with Client(self._controller) as client:
            await client.answered(self._pace.patience_seconds)
            await self._join(client)
            await self._fill(client)
            for _ in range(self._pace.rounds):
                await self._idle(client)
            await self._call(client)
            await self._restart(client)
        return self._found

    async def _join(self, client: Client) -> None:
        """Have all agents come."""
        self._found.empty_bytes = _resident_bytes(self._controller.pid)
        began = time.monotonic()
        self._crowd.order("live", within_seconds=str(self._count / DIALS_PER_SECOND))
        state = await self._until("all agents in session", lambda state: state.known == self._count)
        await self._until_ready(client)
        self._found.join_seconds = state.last_known - began
        tell(self._count, f"in session after {self._found.join_seconds:.1f} s")

    async def _fill(self, client: Client) -> None:
        """Have an instance for each agent, which runs."""
        sizes = [min(POOL_NODES, left) for left in range(self._count, 0, -POOL_NODES)]
        seconds = await client.placed("crowd", sizes, self._pace.patience_seconds)
        self._found.placed_per_second = sum(sizes) / seconds
        await self._until("all instances started", lambda state: state.running == self._count)
        await until("all instances running", self._all_run(client), self._pace.patience_seconds)
        tell(self._count, f"{self._found.placed_per_second:.0f} placements a second")

    async def _idle(self, client: Client) -> None:
        """Measure a fleet that does nothing but live."""
        # A heartbeat of each has told what its instances hold: the most so far is written.
        await asyncio.sleep(self._pace.settle_seconds + self._crowd.order("tell").period_seconds)
        found, pid = self._found, self._controller.pid
        revision, before = await client.revision(), self._crowd.order("tell")
        cpu_before, began = _cpu_seconds(pid), time.monotonic()
        await asyncio.sleep(self._pace.idle_periods * before.period_seconds)
        cpu, seconds, after = _cpu_seconds(pid) - cpu_before, time.monotonic() - began, self._crowd.order("tell")
        found.writes += await client.revision() - revision
        found.idle_agent_minutes += self._count * seconds / 60
        found.period_seconds = before.period_seconds
        found.cores.append(cpu / seconds)
        found.heartbeat_us.append(_each(cpu, after.heartbeats - before.heartbeats))
        found.resident_bytes = _resident_bytes(pid)
        tell(self._count, f"{cpu / seconds:.3f} cores, {found.heartbeat_us[-1]:.0f} µs a heartbeat")

    async def _call(self, client: Client) -> None:
        """Make people's calls while all agents live."""
        found = self._found
        found.read_nodes_ms = await client.read_nodes(self._pace.reads)
        found.read_instances_ms = await client.read_instances(self._pace.reads)
        # Another one before it: nodes are asked anew for a model that they were not asked for just now.
        await client.placed("warm", [1], self._pace.patience_seconds)
        found.answered_ms, found.told_ms = await client.deploys(self._pace.deploys)
        await self._until("all instances started", lambda state: state.running == self._count + 1 + self._pace.deploys)
        await until("all instances running", self._all_run(client), self._pace.patience_seconds)
        tell(
            self._count,
            f"p99 of nodes {percentile(found.read_nodes_ms, 99):.0f} ms, instances "
            f"{percentile(found.read_instances_ms, 99):.0f} ms, placed {percentile(found.told_ms, 99):.0f} ms",
        )

    async def _restart(self, client: Client) -> None:
        """Kill the controller, and have it come back."""
        found = self._found
        running, assigned = await client.running(), self._crowd.order("tell").assigned
        found.instances = len(running)
        self._controller.kill("controller")
        tell(self._count, f"controller killed; away for {self._pace.away_seconds:.0f} s")
        await asyncio.sleep(self._pace.away_seconds)
        began = self._controller.begin()
        await client.answered(self._pace.patience_seconds)
        state = await self._until("all agents in session", lambda state: state.known == self._count)
        await self._until_ready(client)
        found.restart_seconds = state.last_known - began
        found.restart_cpu_seconds = _cpu_seconds(self._controller.pid)
        await asyncio.sleep(self._pace.settle_seconds)
        await self._until_ready(client)
        found.restarted_bytes = _resident_bytes(self._controller.pid)
        found.ready = (await client.states())["READY"]
        after = await client.running()
        found.kept = sum(after.get(name) == uid for name, uid in running.items())
        state = self._crowd.order("tell")
        found.lost = state.ordered_away + state.assigned - assigned
        tell(self._count, f"back after {found.restart_seconds:.1f} s; sessions ended {dict(state.endings)}")

    def _all_run(self, client: Client) -> Callable[[], Awaitable[bool]]:
        async def all_run() -> bool:
            return len(await client.running()) == self._crowd.order("tell").running

        return all_run

    async def _until_ready(self, client: Client) -> None:
        async def ready() -> bool:
            return (await client.states())["READY"] == self._count

        await until("all nodes ready", ready, self._pace.patience_seconds)

    async def _until(self, what: str, condition: Callable[[State], bool]) -> State:
        """Return how the agents stand as soon as the condition holds."""
        state: State | None = None

        async def holds() -> bool:
            nonlocal state
            self._controller.check()
            state = self._crowd.order("tell")
            return condition(state)

        try:
            await until(what, holds, self._pace.patience_seconds)
        except BenchmarkError as error:
            raise BenchmarkError(f"{error}; the agents: {state}") from None
        assert state is not None  # the condition has held
        return state


def _echo(controller: Controller, crowd: Agents, found: Found, pace: Pace) -> None:
    """Measure the same messages at the same pace with a server that only sends them back."""
    with running_echo(controller.controller_dir) as (pid, endpoint):
        crowd.order("echo", endpoint=endpoint, period_seconds=str(found.period_seconds))
        deadline = time.monotonic() + pace.patience_seconds
        while crowd.order("tell").connected < found.agents:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"the echo was not reached by all within {pace.patience_seconds:.0f} s")
            time.sleep(0.5)
        for _ in range(pace.rounds):
            time.sleep(pace.settle_seconds)
            before, cpu_before = crowd.order("tell"), _cpu_seconds(pid)
            time.sleep(pace.idle_periods * found.period_seconds)
            after, cpu = crowd.order("tell"), _cpu_seconds(pid) - cpu_before
            found.echo_us.append(_each(cpu, after.echoes - before.echoes))
        crowd.order("leave")
        tell(found.agents, f"{min(found.echo_us):.0f} µs an echo")


def percentile(values: list[float], percent: int) -> float:
    """Return the value that so many of a hundred do not exceed; the values are sorted."""
    return values[min(len(values) - 1, len(values) * percent // 100)]


def tell(count: int, words: str) -> None:
    """Say how far it is."""
    print(f"{count:,} agents: {words}", file=sys.stderr, flush=True)


def _each(seconds: float, count: int) -> float:
    if not count:
        raise BenchmarkError("no message came within the time that was measured")
    return 1e6 * seconds / count


def _cpu_seconds(pid: int) -> float:
    # The process's own clock, as clock_getcpuclockid(3) numbers it: exact, where ticks are of 10 ms.
    return time.clock_gettime(~pid << 3 | 2)


def _resident_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)
