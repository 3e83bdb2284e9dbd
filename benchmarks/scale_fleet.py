"""A cluster for ``scale``: its controller by its command, certificates of nodes, and processes with their agents."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.figures import BenchmarkError
from examples.demo.cluster import Cluster
from motorpool_agent.identity.keys import make_key_and_request
from motorpool_controller.domain.fleet import Node
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.services.certificates import give_certificate
from motorpool_controller.services.convert.backend import profile_message
from motorpool_controller.services.convert.facts import facts_message
from motorpool_controller.store.store import Store, utc_now
from motorpool_controller.store.transaction import Transaction
from tests.controller.scheduling.accelerators import BACKENDS, QWEN3_32B

PROCESSES = 2
"""With agents: each keeps a core busy while all of them dial."""
FILES_BESIDE = 512
"""Files and sockets that a process has open beside its agents' connections."""
BACKEND = "vllm"
POOL_NODES = 125
"""Nodes that have a model on their disks, and a label that says so: nobody has all models everywhere."""


class Controller(Cluster):
    """One controller on loopback with default settings, but for those given in TOML."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        super().__init__(folder)
        self._file = folder / "controller.toml"
        self._settings = settings

    def init(self) -> str:
        """Make the cluster, and return a join token."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file.write_text(self._settings, encoding="utf-8")
        return super().init()

    def begin(self) -> float:
        """Start the controller, wait for nothing, and return when that was."""
        began = time.monotonic()
        self._start("controller", "motorpool-controller", "run", *self._controller_options())
        return began

    @property
    def pid(self) -> int:
        """The controller's process."""
        return self.pids()["controller"]

    def check(self) -> None:
        """Raise where it has ended."""
        if self._processes["controller"].poll() is not None:
            log = (self.folder / "controller.log").read_text(encoding="utf-8", errors="replace")
            raise BenchmarkError(f"the controller ended. The end of its log:\n{log[-3000:]}")

    def _controller_options(self) -> Sequence[str]:
        return (*super()._controller_options(), "--config", str(self._file))


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How the agents of all processes stand: sums of what each of them tells."""

    connected: int
    known: int
    running: int
    heartbeats: int
    echoes: int
    opened: int
    assigned: int
    ordered_away: int
    last_known: float
    period_seconds: float
    endings: Mapping[str, int]


class Agents:
    """The processes with the agents. They end with their standard input."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def order(self, what: str, **more: str) -> State:
        """Have all carry an order out, and return how they stand."""
        for process in self._processes:
            _pipe(process.stdin).write(json.dumps({"do": what, **more}) + "\n")
            _pipe(process.stdin).flush()
        told = [json.loads(_pipe(process.stdout).readline() or "null") for process in self._processes]
        if None in told:
            raise BenchmarkError("a process with agents ended; what it said stands above")
        failed = [why for each in told for why in each.pop("failed")]
        if failed:
            raise BenchmarkError(f"agents failed: {', '.join(failed)}")
        endings: dict[str, int] = {}
        for each in told:
            for reason, count in each.pop("endings").items():
                endings[reason] = endings.get(reason, 0) + count
        last = max(each.pop("last_known") for each in told)
        period = max(each.pop("period_seconds") for each in told)
        return State(
            last_known=last,
            period_seconds=period,
            endings=endings,
            **{key: sum(each[key] for each in told) for key in told[0]},
        )


def allow_files(agents: int) -> None:
    """Have this process and its children open a file for each agent; raise where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = agents + FILES_BESIDE
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchmarkError(
            f"{agents:,} agents are as many connections, and this process may have {hard:,} files open and no more; "
            f"raise that to {needed:,} (`ulimit -Hn`, as root; or LimitNOFILE of the unit), or ask for fewer agents"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard == resource.RLIM_INFINITY else hard, hard))


def plant(controller: Controller, count: int) -> list[Path]:
    """Have so many nodes in the store, each with a certificate of its own; return a file for each process of agents.

    What Enroll does, by the same code and without its limit of 20 a second: beside the controller, before it runs.
    """
    return asyncio.run(_plant(controller, count))


async def _plant(controller: Controller, count: int) -> list[Path]:
    agents: list[dict[str, str]] = []
    async with await Store.open(controller.controller_dir / "controller.db") as store:
        trust = Authorities(controller.controller_dir, store.view.cluster_id).present()

        def enrol(tx: Transaction) -> None:
            for number in range(count):
                name = f"n{number:05}"
                key, request = make_key_and_request(name)
                node = Node(
                    name=f"nodes/{name}", uid=str(uuid.uuid4()), enrollment_id=uuid.uuid4().hex, create_time=utc_now()
                )
                certificate = give_certificate(tx, trust.signing, node, request)
                agents.append(
                    {
                        "node": node.name,
                        "uid": node.uid,
                        "key": key,
                        "certificate": certificate.pem,
                        "pool": f"p{number // POOL_NODES}",
                    }
                )

        await store.commit(enrol)
        cluster_id = store.view.cluster_id
    common = {
        "cluster_id": cluster_id,
        "endpoint": f"127.0.0.1:{controller.agents_port}",
        "ca_pem": trust.pem,
        "profile": profile_message(BACKENDS[BACKEND]).SerializeToString().hex(),
        "facts": facts_message(QWEN3_32B).SerializeToString().hex(),
    }
    files = []
    for index in range(PROCESSES):
        share = agents[index::PROCESSES]
        file = controller.folder / f"agents-{index}.json"
        file.touch(mode=0o600)
        # Numbers far apart: agents of two processes share no device's id.
        document = {**common, "first": index << 20, "agents": share}
        file.write_text(json.dumps(document), encoding="utf-8")
        files.append(file)
    return files


@contextmanager
def agents(files: Sequence[Path]) -> Iterator[Agents]:
    """Run the processes with the agents; none of them lives yet."""
    # gRPC's own words of refused connections would be thousands of lines.
    environment = {**os.environ, "GRPC_VERBOSITY": "NONE"}
    with ExitStack() as stack:
        processes = []
        for file in files:
            command = [sys.executable, "-m", "benchmarks.scale_agents", str(file)]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            )
            stack.callback(process.send_signal, signal.SIGTERM)
            processes.append(process)
        yield Agents(processes)


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # a pipe was asked for
    return stream
