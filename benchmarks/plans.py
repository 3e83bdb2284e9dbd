"""A plan on file, as a person waits for it: whole processes of ``motorpool-controller plan``, Python's start included.

Fleets as in ``scheduling``, written as files, each device under an id of its own, half of them taken; one deployment of
two instances that take a device each. Then one process to which deployments are written, one after another: from a line
to its answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import BenchmarkError, Figure, median
from benchmarks.scheduling import DEVICES
from tests.controller.scheduling.accelerators import VENDORS

ROOT = Path(__file__).resolve().parents[1]
DEPLOYMENT = ROOT / "examples" / "plans" / "one-device.json"
EXAMPLES = ("one-device.json", "several-devices.json")
SIZES = (10, 1_000, 10_000)
RUNS = 5
GIB = 1 << 30


def measure() -> Sequence[Figure]:
    """Measure plans of growing fleets, and the command that only says what it can do."""
    start = median([_seconds("--help") for _ in range(RUNS)])
    figures = [
        Figure(key="help_seconds", value=round(start, 2), meaning="`motorpool-controller --help`, p50", bar="s"),
    ]
    with tempfile.TemporaryDirectory(prefix="motorpool-bench-") as folder:
        for size, file in ((size, Path(folder) / f"{size}.json") for size in SIZES):
            print(f"{size} nodes", file=sys.stderr, flush=True)
            file.write_text(json.dumps(fleet(size)), encoding="utf-8")
            plan = ("plan", "--fleet", str(file), "--deployment", str(DEPLOYMENT))
            value = round(median([_seconds(*plan) for _ in range(RUNS)]), 2)
            meaning = (
                f"plan on {size:,} nodes, {size * DEVICES // 2:,} instances, {file.stat().st_size / 1e6:.1f} MB, p50"
            )
            figures.append(Figure(key=f"plan_{size}_nodes_seconds", value=value, meaning=meaning, bar="s"))
        key = f"plan_{SIZES[-1]}_nodes_next_ms"
        meaning = f"each further deployment on {SIZES[-1]:,} nodes (`--deployment -`), p50"
        figures.append(Figure(key=key, value=_next_ms(Path(folder) / f"{SIZES[-1]}.json"), meaning=meaning))
    return figures


def _next_ms(file: Path) -> float:
    """Return how long a process that has read its fleet takes from a deployment to its plan, p50 in milliseconds.

    Models and claims differ from one to the next, so that nothing of the answer before could be told again.
    """
    wishes = [json.loads((DEPLOYMENT.parent / name).read_text(encoding="utf-8")) for name in EXAMPLES]
    for wish in wishes:
        wish["spec"].pop("backend_version", None)
    program = str(Path(sys.executable).with_name("motorpool-controller"))
    command = [program, "plan", "--fleet", str(file), "--deployment", "-"]
    times = []
    with subprocess.Popen(
        [*command, "--output", "json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise BenchmarkError("no pipes")
        for number in range(1 + 10 * len(wishes)):
            line = json.dumps(wishes[number % len(wishes)])
            began = time.perf_counter()
            process.stdin.write(line + "\n")
            answer = json.loads(process.stdout.readline())
            times.append(1000 * (time.perf_counter() - began))
            if "instances" not in answer:
                raise BenchmarkError(f"no plan: {answer}")
        process.stdin.close()
    return round(median(times[1:]), 1)


def fleet(size: int) -> dict[str, Any]:
    """Return a half-full fleet of so many nodes as its file has it."""
    kinds = sorted(VENDORS)
    nodes: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    for number in range(size):
        framework = kinds[number % len(kinds)]
        name = f"nodes/n{number:05}"
        ids = [f"{framework}-{number:05}-{place}" for place in range(DEVICES)]
        nodes.append(
            {
                "name": name,
                "host": {"os": "linux", "architecture": "amd64", "memory_bytes": str(512 * GIB)},
                "devices": [_device(device_id, framework, place) for place, device_id in enumerate(ids)],
            }
        )
        instances += [_instance(name, device_id, framework) for device_id in ids[::2]]
    return {"nodes": nodes, "instances": instances}


def _device(device_id: str, framework: str, index: int) -> dict[str, Any]:
    return {
        "device_id": device_id,
        "vendor": VENDORS[framework],
        "framework": framework,
        "index": index,
        "memory": {"kind": "MEMORY_KIND_DEDICATED", "total_bytes": str(80 * GIB)},
        "health": "HEALTH_HEALTHY",
    }


def _instance(node: str, device_id: str, framework: str) -> dict[str, Any]:
    claim = {"memory_bytes": "1000000", "devices": [{"device_id": device_id, "memory_bytes": str(72 * GIB)}]}
    return {
        "name": f"instances/{device_id}",
        "deployment": "deployments/standing",
        "placement": {"framework": framework, "members": [{"node": node, "claim": claim}]},
    }


def _seconds(*arguments: str) -> float:
    before = time.perf_counter()
    command = [str(Path(sys.executable).with_name("motorpool-controller")), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)} failed: {done.stderr}")
    return time.perf_counter() - before
