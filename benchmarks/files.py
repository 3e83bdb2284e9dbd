"""Downloads by an agent beside `hf download`, from the same hub on loopback: throughput, and the processors' time."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.figures import BenchmarkError, Figure, median
from motorpool_agent.files.downloads import Downloads
from motorpool_agent.files.hubs import Hubs
from motorpool_agent.files.store import FileStore
from motorpool_agent.reconcile.assignment import Download, HubFile, ModelSource
from tests.hub.contents import Content
from tests.hub.server import LocalHub

REPEATS = 3
MIB = 1 << 20
LARGE = Content(b"weights", 768 * MIB)
SHAPES = {
    "one": {"model.gguf": LARGE},
    "parts": {f"model-{number:05}.safetensors": Content(f"part {number}".encode(), 96 * MIB) for number in range(8)},
}
"""A model in one file, and one in eight."""


def measure() -> Sequence[Figure]:
    """Download two models with each, in turns."""
    figures: list[Figure] = []
    parent, child = multiprocessing.get_context("spawn").Pipe()
    hub = multiprocessing.get_context("spawn").Process(target=_serve, args=(child,), daemon=True)
    hub.start()
    try:
        endpoint, downloads = parent.recv()
        for shape in SHAPES:
            ours, theirs = [], []
            for turn in range(REPEATS):
                print(f"{shape}, turn {turn + 1} of {REPEATS}", file=sys.stderr, flush=True)
                ours.append(_timed(partial(_ours, endpoint, downloads[shape])))
                theirs.append(_timed(partial(_theirs, endpoint, shape)))
            figures += _figures(shape, ours, theirs)
    finally:
        parent.send(None)
        hub.join(10)
    return figures


def _figures(shape: str, ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> list[Figure]:
    size = sum(content.size for content in SHAPES[shape].values()) / MIB
    what = f"{size:.0f} MiB in {len(SHAPES[shape])} files" if len(SHAPES[shape]) > 1 else f"{size:.0f} MiB in one file"
    seconds, cpu = (median([each[index] for each in ours]) for index in (0, 1))
    their_seconds, their_cpu = (median([each[index] for each in theirs]) for index in (0, 1))
    return [
        Figure(
            key=f"{shape}_agent_mib_per_second", value=size / seconds, meaning=f"{what}: an agent, digests compared"
        ),
        Figure(
            key=f"{shape}_hf_mib_per_second", value=size / their_seconds, meaning="`hf download`, which compares none"
        ),
        Figure(key=f"{shape}_throughput_ratio", value=their_seconds / seconds, meaning="agent / hf", least=0.8),
        Figure(key=f"{shape}_agent_cpu_seconds", value=cpu, meaning="the agent's processor time, its child's too"),
        Figure(key=f"{shape}_hf_cpu_seconds", value=their_cpu, meaning="that of `hf download`"),
        Figure(key=f"{shape}_cpu_ratio", value=cpu / their_cpu, meaning="agent / hf", aim=1.0),
    ]


def _timed(fetch: Callable[[Path], None]) -> tuple[float, float]:
    """Return seconds and processor seconds of a download into a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        began, before = time.perf_counter(), _cpu_seconds()
        fetch(Path(folder))
        return time.perf_counter() - began, _cpu_seconds() - before


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _ours(endpoint: str, download: Download, folder: Path) -> None:
    async def fetch() -> None:
        hubs = Hubs(environment={"HF_ENDPOINT": endpoint})
        downloads = Downloads(FileStore(folder), hubs, reserved_bytes=0, notify=lambda: None)
        await downloads.fetch(download, lambda *_: None)
        await downloads.close()

    asyncio.run(fetch())


def _theirs(endpoint: str, shape: str, folder: Path) -> None:
    program = shutil.which("hf", path=str(Path(sys.executable).parent))
    if program is None:
        raise BenchmarkError("`hf` is not installed beside this Python; `make setup` does that")
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [program, "download", f"bench/{shape}", "--local-dir", str(folder / "model"), "--quiet"],
        env={**environment, "HF_HUB_DISABLE_TELEMETRY": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BenchmarkError(f"`hf download` failed: {done.stdout}{done.stderr}")


def _serve(pipe: Connection) -> None:
    """Be a hub, in a process of its own, until told to end."""
    with LocalHub() as hub:
        told = {}
        for shape, files in SHAPES.items():
            commit = hub.add(f"bench/{shape}", dict(files)).branches["main"]
            told[shape] = Download(
                source=ModelSource(kind="hugging_face", repository=f"bench/{shape}", revision=commit),
                commit=commit,
                files=tuple(
                    HubFile(path=path, size_bytes=each.size, sha256=each.sha256) for path, each in files.items()
                ),
            )
        pipe.send((hub.endpoint, told))
        pipe.recv()
