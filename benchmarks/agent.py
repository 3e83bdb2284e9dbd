"""The agent: from an accepted deployment to a running process, and what it costs when nothing happens.

A controller and an agent run on loopback by their commands, as in the demo. A deployment of a tiny model is created,
waited for and deleted, many times. The latency is from the moment CreateDeployment's answer is here to the time at
which the agent saw the engine's exec succeed, as the instance's start_time tells it: one machine, one clock.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.figures import BenchmarkError, Figure, median, percentile_95
from examples.demo.cluster import Cluster, DemoError
from motorpool import v1
from motorpool_cli import settings
from motorpool_cli.changes import follow
from motorpool_cli.client import Client, connect
from motorpool_cli.failures import CommandError
from tests.models.tiny_gguf import make_tiny_gguf

COLD_STARTS, WARM_DEPLOYMENTS = 5, 30
IDLE_SECONDS, SETTLE_SECONDS = 60.0, 5.0
TIMEOUT_SECONDS = 120.0
MB = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """Milliseconds from the answer to the exec, and to the instance that runs."""

    exec_ms: float
    running_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """What a process and its children took while nothing happened."""

    resident_bytes: int
    cpu_ratio: float
    children: tuple[tuple[str, int, float], ...]


def measure() -> Sequence[Figure]:
    """Measure latencies and the cost of being idle."""
    with tempfile.TemporaryDirectory(prefix="motorpool-bench-") as name:
        folder = Path(name)
        model = make_tiny_gguf(folder / "tiny.gguf")
        try:
            return _measure(folder, model)
        except (CommandError, DemoError) as error:
            raise BenchmarkError(str(error)) from error


def _measure(folder: Path, model: Path) -> Sequence[Figure]:
    cluster = Cluster(folder / "cluster")
    with _running(cluster) as client:
        # The first deployment ever makes the engine's environment; what pip takes is no figure of ours.
        _deploy(client, "first", model)
    cold = []
    for number in range(COLD_STARTS):
        with _running(cluster) as client:
            cold.append(_deploy(client, f"cold-{number}", model))
        _tell(f"cold {cold[-1].exec_ms:.0f} ms to exec, {cold[-1].running_ms:.0f} ms to running")
    with _running(cluster) as client:
        _deploy(client, "warm-up", model)
        warm = [_deploy(client, f"warm-{number}", model) for number in range(WARM_DEPLOYMENTS)]
        _tell(f"warm {median([each.exec_ms for each in warm]):.0f} ms to exec (p50 of {len(warm)})")
        agent = psutil.Process(cluster.pids()["agent"])
        controller = psutil.Process(cluster.pids()["controller"])
        time.sleep(SETTLE_SECONDS)
        _tell(f"idle for {IDLE_SECONDS:.0f} s")
        idle, controller_idle = idle_of((agent, controller), IDLE_SECONDS)
    for command, resident_bytes, cpu_ratio in idle.children:
        _tell(f"child of the agent: {command}, {resident_bytes / MB:.1f} MB, {cpu_ratio:.2%} of a core")
    return _figures(cold, warm, idle, controller_idle)


def _figures(cold: Sequence[Deployed], warm: Sequence[Deployed], idle: Idle, controller: Idle) -> Sequence[Figure]:
    execs = [each.exec_ms for each in warm]
    return (
        Figure(
            key="exec_warm_p50_ms",
            value=round(median(execs), 1),
            meaning=f"deployment accepted → engine exec'd, p50 of {len(warm)}, warm",
            aim=50,
        ),
        Figure(key="exec_warm_p95_ms", value=round(percentile_95(execs), 1), meaning="the same, p95"),
        Figure(
            key="exec_cold_p50_ms",
            value=round(median([each.exec_ms for each in cold]), 1),
            meaning=f"the same, first after both started, p50 of {len(cold)}",
        ),
        Figure(
            key="running_warm_p50_ms",
            value=round(median([each.running_ms for each in warm]), 1),
            meaning="deployment accepted → instance runs, p50, warm (704 KB model)",
        ),
        Figure(
            key="agent_resident_mb",
            value=round(idle.resident_bytes / MB, 1),
            meaning=f"idle agent, resident memory, after {IDLE_SECONDS:.0f} s",
            aim=80,
        ),
        Figure(
            key="agent_cpu_percent",
            value=round(100 * idle.cpu_ratio, 2),
            meaning=f"idle agent, share of one core over {IDLE_SECONDS:.0f} s",
            aim=1,
        ),
        Figure(key="agent_children", value=len(idle.children), meaning="its child processes"),
        Figure(
            key="agent_children_resident_mb",
            value=round(sum(resident_bytes for _, resident_bytes, _ in idle.children) / MB, 1),
            meaning="their resident memory, pages shared between them counted for each",
        ),
        Figure(
            key="agent_children_cpu_percent",
            value=round(100 * sum(cpu_ratio for _, _, cpu_ratio in idle.children), 2),
            meaning="their share of one core",
        ),
        Figure(
            key="controller_resident_mb",
            value=round(controller.resident_bytes / MB, 1),
            meaning="idle controller, resident memory",
        ),
        Figure(
            key="controller_cpu_percent",
            value=round(100 * controller.cpu_ratio, 2),
            meaning="idle controller, share of one core",
        ),
    )


@contextmanager
def _running(cluster: Cluster) -> Iterator[Client]:
    """Run a new controller and a new agent; the engine's environment of earlier ones stays."""
    try:
        token = cluster.init()
        cluster.start_controller()
        cluster.start_agent(token, "bench")
        with connect(settings.load(config=cluster.client_file)) as client:
            try:
                yield client
            finally:
                for deployment in client.deployments.ListDeployments(
                    v1.ListDeploymentsRequest(), timeout=20
                ).deployments:
                    _delete(client, deployment)
    finally:
        cluster.stop()


def _deploy(client: Client, name: str, model: Path) -> Deployed:
    spec = v1.DeploymentSpec(model=v1.ModelSource(local_path=str(model)), exposure=v1.EXPOSURE_LOCAL)
    request = v1.CreateDeploymentRequest(deployment_id=name, deployment=v1.Deployment(spec=spec))
    created = client.deployments.CreateDeployment(request, timeout=20)
    accepted = time.time()
    try:
        instance = _until_running(client, created)
        running = time.time()
    except TimeoutError:
        raise BenchmarkError(f"{created.name} did not run within {TIMEOUT_SECONDS:.0f} s") from None
    executed = instance.start_time.seconds + instance.start_time.nanos / 1e9
    forked = psutil.boot_time() + instance.pid_start_ticks / os.sysconf("SC_CLK_TCK")
    # Ticks are coarse, and the boot's time is a rounded one: enough to tell another clock from ours.
    if abs(executed - forked) > 5:
        raise BenchmarkError(f"the start time reported for {instance.name} is not that of process {instance.pid}")
    _delete(client, created)
    return Deployed(exec_ms=1000 * (executed - accepted), running_ms=1000 * (running - accepted))


def _until_running(client: Client, created: v1.Deployment) -> v1.Instance:
    for change in follow(client, created.name, TIMEOUT_SECONDS, _tell):
        instance = change.instance
        if instance.state == v1.INSTANCE_STATE_RUNNING:
            return instance
        if instance.state == v1.INSTANCE_STATE_ERROR:
            raise BenchmarkError(f"{instance.name} failed: {instance.last_failure.message}")
    raise AssertionError


def _delete(client: Client, deployment: v1.Deployment) -> None:
    client.deployments.DeleteDeployment(v1.DeleteDeploymentRequest(name=deployment.name), timeout=20)
    try:
        for change in follow(client, deployment.name, TIMEOUT_SECONDS, _tell):
            if change.deleted == deployment.name:
                return
    except TimeoutError:
        raise BenchmarkError(f"{deployment.name} was not gone within {TIMEOUT_SECONDS:.0f} s") from None


def idle_of(processes: Sequence[psutil.Process], seconds: float) -> tuple[Idle, ...]:
    """Return what processes, and apart from them their children, take over ``seconds``."""
    before = {each: _cpu_seconds(each) for parent in processes for each in (parent, *parent.children(recursive=True))}
    begin = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - begin

    def cpu_ratio(process: psutil.Process) -> float:
        return (_cpu_seconds(process) - before.get(process, 0.0)) / elapsed

    return tuple(
        Idle(
            resident_bytes=parent.memory_info().rss,
            cpu_ratio=cpu_ratio(parent),
            children=tuple(
                (" ".join(child.cmdline())[:100] or child.name(), child.memory_info().rss, cpu_ratio(child))
                for child in parent.children(recursive=True)
            ),
        )
        for parent in processes
    )


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
