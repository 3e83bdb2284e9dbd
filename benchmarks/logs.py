"""Logs: from an engine's standard output to the standard output of `motorpool logs --follow`.

A declared backend's engine, a real process below its shim, writes lines of 100 bytes when it is asked to, as fast as it
can. `motorpool logs --follow` reads them through agent and controller into a pipe. The clock runs from the request
until the last line is out of that pipe. Beside it: the same files read on the node, times taken off. Nothing may be
lost: what is written is less than the files of a run hold.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.figures import BenchmarkError, Figure, median
from examples.demo.cluster import BIN, Cluster, DemoError
from motorpool import v1
from motorpool_agent.runtime import logs
from motorpool_agent.runtime.logplace import Reader
from motorpool_cli import settings
from motorpool_cli.client import Client, connect
from motorpool_cli.failures import CommandError

LINES, LINE_BYTES, ROUNDS = 150_000, 100, 3
TIMEOUT_SECONDS = 120.0
MB = 10**6
NAME = "talker"

ENGINE = """\
import http.server, os, sys

LINE = b"x" * (int(sys.argv[3]) - 9)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        wanted = self.path.removeprefix("/say/")
        if wanted.isdecimal():
            out = sys.stdout.buffer
            for number in range(int(wanted)):
                out.write(b"%07d %s\\n" % (number, LINE))
            out.write(b"end\\n")
            out.flush()

    def log_message(self, *_):
        pass

print("end", flush=True)
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
BACKEND = """\
name: talker
health_path: /
start_timeout: 60s
stop_grace: 1s
claim: {{memory_bytes: 16MiB}}
versions:
  - version: "1"
    command: [{python}, -I, -S, {engine}, "{{{{node_ip}}}}", "{{{{port}}}}", "{size}"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What it took until all lines were out, by the clock and of each process's time."""

    seconds: float
    agent_seconds: float
    controller_seconds: float
    command_seconds: float


def measure() -> Sequence[Figure]:
    """Measure the way of lines to who follows them."""
    with tempfile.TemporaryDirectory(prefix="motorpool-bench-") as name:
        try:
            return measured(Path(name), LINES, ROUNDS)
        except (CommandError, DemoError) as error:
            raise BenchmarkError(str(error)) from error


def measured(folder: Path, lines: int, rounds: int) -> Sequence[Figure]:
    """Measure with so many lines, so many times."""
    cluster = Cluster(folder / "cluster")
    token = cluster.init()
    try:
        cluster.start_controller()
        cluster.start_agent(token, "bench")
        with connect(settings.load(config=cluster.client_file)) as client:
            instance = _deployed(cluster, client, folder)
            taken = [_followed(cluster, instance, lines) for _ in range(rounds)]
            # The last rounds' files: as much as one round wrote, whatever was rotated away before.
            direct_seconds = _read(folder / "cluster" / "agent" / "instances" / instance.uid, instance.attempt, lines)
            client.deployments.DeleteDeployment(v1.DeleteDeploymentRequest(name=f"deployments/{NAME}"), timeout=20)
            _wait("the instance to be gone", lambda: not _instances(client))
    finally:
        cluster.stop()
    return _figures(taken, direct_seconds, lines)


def _figures(taken: Sequence[Followed], direct_seconds: float, lines: int) -> Sequence[Figure]:
    seconds = median([each.seconds for each in taken])
    size_mb = lines * LINE_BYTES / MB
    return (
        Figure(
            key="follow_mb_per_second",
            value=round(size_mb / seconds, 1),
            meaning=f"{lines:,} lines of {LINE_BYTES} bytes at once, engine → `logs --follow`, p50 of {len(taken)}",
        ),
        Figure(key="follow_lines_per_second", value=round(lines / seconds), meaning="the same, lines"),
        Figure(
            key="direct_mb_per_second",
            value=round(size_mb / direct_seconds, 1),
            meaning="the same lines read from the files on the node, by the agent's reader alone",
        ),
        Figure(key="follow_to_direct_ratio", value=round(direct_seconds / seconds, 3), meaning="followed / read there"),
        *(
            Figure(
                key=f"{name}_cpu_seconds_per_100_mb",
                value=round(100 * median([getattr(each, f"{name}_seconds") for each in taken]) / size_mb, 2),
                meaning=f"processor time of the {name} for 100 MB followed",
            )
            for name in ("agent", "controller", "command")
        ),
    )


def _deployed(cluster: Cluster, client: Client, folder: Path) -> v1.Instance:
    engine, model, file = folder / "engine.py", folder / "model.txt", folder / "backend.yaml"
    engine.write_text(ENGINE, encoding="utf-8")
    model.write_text("nothing\n", encoding="utf-8")
    file.write_text(
        BACKEND.format(python=os.path.realpath(sys.executable), engine=engine, size=LINE_BYTES), encoding="utf-8"
    )
    cluster.answer("backends", "apply", "-f", str(file))
    wish = v1.DeploymentSpec(
        model=v1.ModelSource(local_path=str(model)), backend=NAME, replicas=1, exposure=v1.EXPOSURE_LOCAL
    )
    created = v1.CreateDeploymentRequest(deployment_id=NAME, deployment=v1.Deployment(spec=wish))
    client.deployments.CreateDeployment(created, timeout=20)
    _wait("the engine to run", lambda: [each.state for each in _instances(client)] == [v1.INSTANCE_STATE_RUNNING])
    return _instances(client)[0]


def _followed(cluster: Cluster, instance: v1.Instance, lines: int) -> Followed:
    """Follow one outburst; fail if a line is missing or out of its order."""
    watched = [psutil.Process(cluster.pids()[name]) for name in ("agent", "controller")]
    before = [_cpu_seconds(each) for each in watched]
    command = [str(BIN / "motorpool"), "--config", str(cluster.client_file), "logs", instance.name, "-f", "--tail", "1"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as follower:
        try:
            if follower.stdout is None:
                raise BenchmarkError("there is no pipe")
            # The last line of before says that it follows.
            follower.stdout.readline()
            began = time.monotonic()
            with urllib.request.urlopen(f"{instance.endpoint}/say/{lines}", timeout=TIMEOUT_SECONDS):  # noqa: S310  # ours
                pass
            count = 0
            for line in follower.stdout:
                if line == b"end\n":
                    break
                if int(line[:7]) != count:
                    raise BenchmarkError(f"line {count} is missing, or comes twice: {line[:20]!r}")
                count += 1
            seconds = time.monotonic() - began
            if count != lines:
                raise BenchmarkError(f"of {lines} lines {count} came")
            command_seconds = _cpu_seconds(psutil.Process(follower.pid))
        finally:
            follower.kill()
    after = [_cpu_seconds(each) for each in watched]
    print(f"{lines / seconds:,.0f} lines a second", file=sys.stderr, flush=True)
    return Followed(
        seconds=seconds,
        agent_seconds=after[0] - before[0],
        controller_seconds=after[1] - before[1],
        command_seconds=command_seconds,
    )


def _read(directory: Path, run: int, lines: int) -> float:
    """Return how long the last lines of a run take whoever reads them where they are."""
    began = time.monotonic()
    count = 0
    with Reader(directory, run, lines) as reader:
        while batch := reader.read():
            count += len(batch)
    if count != lines:
        kept = sum(part.stat().st_size for part in logs.parts(directory, run))
        raise BenchmarkError(f"{count} lines are left of {lines}, in {kept} bytes")
    return time.monotonic() - began


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _instances(client: Client) -> list[v1.Instance]:
    request = v1.ListInstancesRequest(deployment=f"deployments/{NAME}")
    return list(client.instances.ListInstances(request, timeout=20).instances)


def _wait(what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"waited {TIMEOUT_SECONDS:.0f} s for {what}")
        time.sleep(0.02)
