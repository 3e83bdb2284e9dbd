"""Another controller takes the leader's place: how long nobody answers, and how long until agents are back.

Two controllers and agents on loopback, PostgreSQL (fsync on) on this machine. The leader is killed, told to stop, and
stopped where it stands (SIGSTOP), at the default lease; each time the other one leads, and the first comes back and
stands by. Then the database's server dies and is started. The gap is from the signal to the first change that is
accepted, by a client that asks again and again; agents are back when every node has a new session. As root also on
machines in network namespaces: one that is gone without a word, and one that alone does not reach the database; from
then until the other one leads.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

import grpc

from benchmarks.figures import BenchmarkError, Figure
from motorpool import v1
from motorpool_controller.store.tenure import LEASE_SECONDS
from tests.e2e.controllers import Controllers
from tests.e2e.fleet import wait_for
from tests.e2e.several import typed
from tests.postgresql import PostgresServer, programs

AGENTS = 2
TIMES = 7
SELDOM = 3
"""Where a lease is waited for."""
TIMEOUT_SECONDS = 120.0


def measure() -> Sequence[Figure]:
    """Measure every kind of end of a leader."""
    if programs() is None:
        raise BenchmarkError("no PostgreSQL on this machine; apt-get install postgresql")
    with (
        tempfile.TemporaryDirectory(prefix="motorpool-bench-") as name,
        closing(PostgresServer(fsync=True)) as server,
        closing(_fleet(Path(name), server)) as fleet,
    ):
        ends: list[tuple[str, str, int, Callable[[int], None]]] = [
            ("killed", "the leader is killed", TIMES, lambda pid: os.kill(pid, signal.SIGKILL)),
            ("stopped", "the leader is told to stop", TIMES, lambda pid: os.kill(pid, signal.SIGTERM)),
            ("frozen", "the leader stands still, lease 15 s", SELDOM, lambda pid: os.kill(pid, signal.SIGSTOP)),
        ]
        figures = [figure for end in ends for figure in _ended(fleet, *end)]
        figures.append(_database(fleet, server))
        return [*figures, *(_on_machines(Path(name) / "machines") if os.geteuid() == 0 else ())]


def _fleet(folder: Path, server: PostgresServer) -> Controllers:
    engines = folder / "engines"
    engines.mkdir()
    fleet = Controllers(folder, engines, server)
    fleet.run_controller("a")
    for number in range(AGENTS):
        fleet.launch_agent(f"n{number}")
    wait_for("the agents", lambda: fleet.nodes_ready() == AGENTS)
    fleet.join_controller("b")
    fleet.run_controller("b")
    told = f":{fleet.ports['b'][1]}"
    wait_for("the agents to know both", lambda: all(told in fleet.identity_text(node) for node in fleet.agents))
    return fleet


def _ended(fleet: Controllers, key: str, what: str, times: int, end: Callable[[int], None]) -> Sequence[Figure]:
    gaps, backs = [], []
    for _ in range(times):
        leader, other = ("a", "b") if fleet.leads("a") else ("b", "a")
        before = _sessions(fleet)
        process = fleet.running[leader]
        began = time.monotonic()
        end(process.pid)
        _change(fleet, other)
        gaps.append(time.monotonic() - began)
        wait_for("the agents", lambda: _sessions(fleet, other) > before, TIMEOUT_SECONDS)  # noqa: B023  # at once
        backs.append(time.monotonic() - began)
        print(f"{what}: {gaps[-1]:.2f} s, agents back after {backs[-1]:.2f} s", file=sys.stderr, flush=True)
        # It goes on, finds that another one leads, and is ended only then.
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        process.kill()
        fleet.run_controller(leader)
    return [
        *_gaps(key, gaps, f"{what}: until a change is accepted"),
        Figure(
            key=f"{key}_agents_back_seconds",
            value=round(statistics.median(backs), 2),
            meaning="until all agents are back",
        ),
    ]


def _gaps(key: str, gaps: Sequence[float], meaning: str) -> Sequence[Figure]:
    return [
        Figure(key=f"{key}_gap_seconds", value=round(statistics.median(gaps), 2), meaning=meaning),
        Figure(key=f"{key}_longest_gap_seconds", value=round(max(gaps), 2), meaning=f"the longest of {len(gaps)}"),
    ]


def _on_machines(folder: Path) -> Sequence[Figure]:
    folder.mkdir()
    found: list[Figure] = []
    with typed(folder, LEASE_SECONDS) as machines:
        for key, what, cut in (
            ("gone", "the leader's machine is gone without a word, lease 15 s", machines.network.cut_off),
            ("cut_off", "the leader alone does not reach the database, lease 15 s", machines.without_database),
        ):
            gaps = []
            for _ in range(SELDOM):
                leader, other = machines.one, machines.two
                if leader.told().rfind("controller ready") < leader.told().rfind("controller stands by"):
                    leader, other = other, leader
                led, stood = other.told().count("controller ready"), leader.told().count("controller stands by")
                began = time.monotonic()
                with cut(leader.name):
                    other.wait_told("controller ready", led + 1, TIMEOUT_SECONDS)
                    gaps.append(time.monotonic() - began)
                leader.wait_told("controller stands by", stood + 1, TIMEOUT_SECONDS)
                print(f"{what}: {gaps[-1]:.2f} s", file=sys.stderr, flush=True)
            found.extend(_gaps(key, gaps, f"{what}: until the other one leads"))
    return found


def _database(fleet: Controllers, server: PostgresServer) -> Figure:
    began = time.monotonic()
    server.stop("immediate")
    server.start()
    started = time.monotonic()
    _change(fleet, "a", "b")
    print(
        f"database back after {started - began:.2f} s, change after {time.monotonic() - began:.2f} s", file=sys.stderr
    )
    return Figure(
        key="database_gap_seconds",
        value=round(time.monotonic() - started, 2),
        meaning="the database dies and is started: from its start until a change is accepted",
    )


def _change(fleet: Controllers, *names: str) -> None:
    """Have a change accepted by one of these controllers."""
    request = v1.CreateDeploymentRequest(
        deployment_id=f"d{uuid.uuid4().hex[:8]}",
        deployment=v1.Deployment(spec=v1.DeploymentSpec(model=v1.ModelSource(local_path="/none.gguf"), replicas=0)),
        request_id=uuid.uuid4().hex,
    )
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        for name in names:
            with fleet.channel_to(name) as channel, suppress(grpc.RpcError):
                v1.DeploymentServiceStub(channel).CreateDeployment(request, timeout=2)
                return
        time.sleep(0.02)
    raise BenchmarkError(f"no change was accepted within {TIMEOUT_SECONDS:.0f} s")


def _sessions(fleet: Controllers, *names: str) -> int:
    """Return the lowest session epoch of the nodes; they only rise."""
    for name in names or fleet.ports:
        with fleet.channel_to(name) as channel, suppress(grpc.RpcError):
            found = v1.NodeServiceStub(channel).ListNodes(v1.ListNodesRequest(), timeout=2).nodes
            return min((node.session_epoch for node in found), default=0)
    return 0
