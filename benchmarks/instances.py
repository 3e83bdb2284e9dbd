"""The agent with many instances: what it costs while they run, and how soon a successor has found them all again.

Instances are real processes of a declared backend: a server that accepts and does nothing else. They run below shims,
as without systemd. The agent is killed with SIGKILL and started again, once without any instance and once with all;
the time is from the start of its process until the controller knows that the last one is adopted.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.agent import MB, Idle, idle_of
from benchmarks.figures import BenchmarkError, Figure, median
from examples.demo.cluster import Cluster, DemoError
from motorpool import v1
from motorpool_cli import settings
from motorpool_cli.client import Client, connect
from motorpool_cli.failures import CommandError

RUNNING, ADOPTED = 50, 200
IDLE_SECONDS = 30.0
TIMEOUT_SECONDS = 300.0
PORTS = "30000-30399"
NODE, DEPLOYMENT = "nodes/bench", "deployments/tiny"

ENGINE = """\
import socket
import sys

with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    while True:
        server.accept()[0].close()
"""
BACKEND = """\
name: tiny
start_timeout: 300s
stop_grace: 1s
claim: {{memory_bytes: 1MiB}}
versions:
  - version: "1"
    command: [{python}, -I, -S, {engine}, "{{{{node_ip}}}}", "{{{{port}}}}"]
"""


def measure() -> Sequence[Figure]:
    """Measure the agent with 50 instances, and the adoption of 200."""
    with tempfile.TemporaryDirectory(prefix="motorpool-bench-") as name:
        try:
            return measured(Path(name), RUNNING, ADOPTED, IDLE_SECONDS)
        except (CommandError, DemoError) as error:
            raise BenchmarkError(str(error)) from error


def measured(folder: Path, running: int, adopted: int, idle_seconds: float) -> Sequence[Figure]:
    """Measure with so many instances."""
    cluster = Cluster(folder / "cluster")
    token = cluster.init()
    try:
        cluster.start_controller()
        cluster.start_agent(token, "bench", "--port-range", PORTS)
        with connect(settings.load(config=cluster.client_file)) as client:
            bench = _Bench(cluster, client, token)
            bench.declare(folder)
            bare = bench.restart(lambda: True)
            none = bench.idle(idle_seconds)
            bench.run(running)
            some = bench.idle(idle_seconds)
            shims = bench.shims()
            bench.run(adopted)
            pids = bench.pids()
            adoption = bench.restart(bench.all_adopted)
            if pids != bench.pids():
                raise BenchmarkError("not every process is the one of before: an instance was started again")
            many = bench.idle(0.1)
            bench.remove()
    finally:
        cluster.stop()
    return (
        _resident("agent_0_resident_mb", none, "agent without instances, resident memory"),
        _share("agent_0_cpu_percent", none, f"its share of one core over {idle_seconds:.0f} s"),
        _resident(f"agent_{running}_resident_mb", some, f"with {running} instances that run, resident memory"),
        _share(f"agent_{running}_cpu_percent", some, f"its share of one core over {idle_seconds:.0f} s"),
        Figure(
            key="instance_resident_kb",
            value=round((some.resident_bytes - none.resident_bytes) / running / 1000, 1),
            meaning="of the agent's memory, for each of these",
        ),
        Figure(
            key="shim_resident_mb",
            value=round(median(shims) / MB, 1),
            meaning="a shim, resident memory, pages shared between them counted for each, p50",
        ),
        _resident(f"agent_{adopted}_resident_mb", many, f"agent that adopted {adopted} instances, resident memory"),
        Figure(
            key="restart_0_seconds",
            value=round(bare.seconds, 2),
            meaning="agent killed and started, nothing runs: its process' start → its node is in session",
        ),
        Figure(
            key=f"adoption_{adopted}_seconds",
            value=round(adoption.seconds, 2),
            meaning=f"the same with {adopted} instances: → the controller knows all as adopted and running",
        ),
        Figure(
            key="restart_0_cpu_seconds",
            value=round(bare.cpu_seconds, 2),
            meaning="the agent's processor time meanwhile, nothing runs",
        ),
        Figure(
            key=f"adoption_{adopted}_cpu_seconds",
            value=round(adoption.cpu_seconds, 2),
            meaning=f"the same with {adopted} instances",
        ),
        Figure(
            key="adoption_cpu_ratio",
            value=round(adoption.cpu_seconds / bare.cpu_seconds, 2),
            meaning="processor time with instances / without",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Restart:
    """What a start of the agent took, until it was ready: by the clock, and of its processor's time."""

    seconds: float
    cpu_seconds: float


class _Bench:
    """A cluster, and what is done to it."""

    def __init__(self, cluster: Cluster, client: Client, token: str) -> None:
        self._cluster, self._client, self._token = cluster, client, token
        self._model = ""
        self._deployed = False

    def declare(self, folder: Path) -> None:
        """Declare the backend whose engines are run."""
        engine, model, file = folder / "engine.py", folder / "model.txt", folder / "backend.yaml"
        engine.write_text(ENGINE, encoding="utf-8")
        model.write_text("nothing\n", encoding="utf-8")
        file.write_text(BACKEND.format(python=os.path.realpath(sys.executable), engine=engine), encoding="utf-8")
        self._cluster.answer("backends", "apply", "-f", str(file))
        self._model = str(model)

    def run(self, count: int) -> None:
        """Have so many instances, and wait until all of them run."""
        wish = v1.Deployment(
            name=DEPLOYMENT,
            spec=v1.DeploymentSpec(
                model=v1.ModelSource(local_path=self._model),
                backend="tiny",
                replicas=count,
                exposure=v1.EXPOSURE_LOCAL,
            ),
        )
        if self._deployed:
            request = v1.UpdateDeploymentRequest(deployment=wish)
            request.update_mask.paths.append("spec.replicas")
            self._client.deployments.UpdateDeployment(request, timeout=20)
        else:
            name = DEPLOYMENT.removeprefix("deployments/")
            created = v1.CreateDeploymentRequest(deployment_id=name, deployment=v1.Deployment(spec=wish.spec))
            self._client.deployments.CreateDeployment(created, timeout=20)
            self._deployed = True
        _wait(f"{count} instances to run", lambda: count == sum(map(_runs, self._instances())))

    def remove(self) -> None:
        """Delete them all, and wait until nothing is left."""
        self._client.deployments.DeleteDeployment(v1.DeleteDeploymentRequest(name=DEPLOYMENT), timeout=20)
        _wait("all instances to be gone", lambda: not self._instances())

    def restart(self, ready: Callable[[], bool]) -> _Restart:
        """Kill the agent and start it again; return what it took until its node is in session, and ``ready``."""
        epoch = self._node().session_epoch
        self._cluster.kill("agent")
        began = time.monotonic()
        self._cluster.launch_agent(self._token, "bench", "--port-range", PORTS)
        _wait("the agent's next session", lambda: self._node().session_epoch > epoch)
        _wait("the agent's word on its instances", ready)
        seconds = time.monotonic() - began
        times = psutil.Process(self._cluster.pids()["agent"]).cpu_times()
        return _Restart(seconds=seconds, cpu_seconds=times.user + times.system)

    def all_adopted(self) -> bool:
        """Return whether every instance runs and is known to have been adopted."""
        return all(each.adopted and _runs(each) for each in self._instances())

    def pids(self) -> dict[str, int]:
        """Return the processes by instance."""
        return {each.name: each.pid for each in self._instances()}

    def idle(self, seconds: float) -> Idle:
        """Return what the agent takes while nothing happens."""
        (idle,) = idle_of([psutil.Process(self._cluster.pids()["agent"])], seconds)
        return idle

    def shims(self) -> list[int]:
        """Return the resident memory of each shim."""
        children = psutil.Process(self._cluster.pids()["agent"]).children()
        return [each.memory_info().rss for each in children if any("/shim" in word for word in each.cmdline())]

    def _node(self) -> v1.Node:
        return self._client.nodes.GetNode(v1.GetNodeRequest(name=NODE), timeout=20)

    def _instances(self) -> list[v1.Instance]:
        request = v1.ListInstancesRequest(deployment=DEPLOYMENT, page_size=1000)
        request.read_mask.paths.extend(("state", "pid", "adopted"))
        return list(self._client.instances.ListInstances(request, timeout=20).instances)


def _runs(instance: v1.Instance) -> bool:
    return instance.state == v1.INSTANCE_STATE_RUNNING


def _resident(key: str, idle: Idle, meaning: str) -> Figure:
    return Figure(key=key, value=round(idle.resident_bytes / MB, 1), meaning=meaning)


def _share(key: str, idle: Idle, meaning: str) -> Figure:
    return Figure(key=key, value=round(100 * idle.cpu_ratio, 2), meaning=meaning)


def _wait(what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"waited {TIMEOUT_SECONDS:.0f} s for {what}")
        time.sleep(0.02)
