"""Vendors' plugins: how long they take to find and to measure cards, and what their processes hold.

Each plugin runs in its own process, as an agent has it, on the made-up library of its tests with 8 and 16 cards. Where
an NVIDIA card is in the machine, its plugin is measured on the real driver, beside what else would tell the same.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.figures import BenchmarkError, Figure, median
from motorpool_sdk.testing.machine import PluginChild
from motorpool_sdk.testing.vendor import MadeVendor, ShownLibrary
from tests.plugins.accelerators.vendors import VENDORS

COUNTS = (8, 16)
WARM_ROUNDS, ROUNDS = 3, 30
MB = 10**6
# What an agent allows: a twentieth of the time, at a heartbeat of ten seconds.
SAMPLE_AIM_MS = 500
QUERY = ("nvidia-smi", "--query-gpu=uuid,memory.used,utilization.gpu,temperature.gpu,power.draw", "--format=csv")
DETECTOR = "from gpustack_runtime.detector import detect_devices as detect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one plugin costs: medians in milliseconds, and what its process holds after all rounds."""

    devices: int
    fingerprint_ms: float
    sample_ms: float
    sample_cpu_ms: float
    resident_bytes: int


def measure() -> Sequence[Figure]:
    """Measure every vendor's plugin."""
    with tempfile.TemporaryDirectory(prefix="motorpool-bench-") as name:
        return [*_made_up(Path(name)), *_real()]


def _made_up(folder: Path) -> Iterator[Figure]:
    for vendor, made in VENDORS.items():
        library = made.compile(folder / "compiled" / vendor)
        for count in COUNTS:
            cost = _cost_on(made, ShownLibrary(made, folder / f"{vendor}-{count}", library), count)
            _tell(f"{vendor}, {count} cards: {cost.fingerprint_ms:.1f} ms to find, {cost.sample_ms:.1f} ms to measure")
            yield from _figures(f"{vendor}_{count}", f"{vendor}, {count} cards", cost)


def _cost_on(made: MadeVendor, library: ShownLibrary, count: int) -> Cost:
    library.show(made.cards(count))
    plugin = PluginChild(made.package, library.folder)
    try:
        cost = _cost(plugin)
    finally:
        plugin.end()
    if cost.devices != count:
        raise BenchmarkError(f"{made.name} told of {cost.devices} devices, and there are {count} cards")
    return cost


def _cost(plugin: PluginChild) -> Cost:
    process = psutil.Process(plugin.pid)
    ids = list(plugin.devices())
    for _ in range(WARM_ROUNDS):
        plugin.fingerprint()
        plugin.sample(ids)
    finding = [_milliseconds(plugin.fingerprint) for _ in range(ROUNDS)]
    before = process.cpu_times()
    measuring = [_milliseconds(lambda: plugin.sample(ids)) for _ in range(ROUNDS)]
    after = process.cpu_times()
    # The children's too: a command is one.
    spent = sum(getattr(after, name) - getattr(before, name) for name in after._fields if name != "iowait")
    return Cost(
        devices=len(ids),
        fingerprint_ms=median(finding),
        sample_ms=median(measuring),
        sample_cpu_ms=1000 * spent / ROUNDS,
        resident_bytes=process.memory_info().rss,
    )


def _figures(key: str, meaning: str, cost: Cost) -> Iterator[Figure]:
    yield Figure(
        key=f"{key}_fingerprint_ms", value=round(cost.fingerprint_ms, 2), meaning=f"{meaning}: all devices found, p50"
    )
    yield Figure(
        key=f"{key}_sample_ms",
        value=round(cost.sample_ms, 2),
        meaning=f"{meaning}: all measured, p50",
        aim=SAMPLE_AIM_MS,
        bar="ms",
    )
    yield Figure(
        key=f"{key}_sample_cpu_ms",
        value=round(cost.sample_cpu_ms, 2),
        meaning=f"{meaning}: processor time of one measurement",
    )
    yield Figure(
        key=f"{key}_resident_mb",
        value=round(cost.resident_bytes / MB, 1),
        meaning=f"{meaning}: resident memory of the plugin's process",
    )


def _real() -> Iterator[Figure]:
    if shutil.which(QUERY[0]) is None or subprocess.run(QUERY, capture_output=True, check=False).returncode:
        _tell("no NVIDIA card here: nothing is compared with nvidia-smi")
        return
    plugin = PluginChild("motorpool_nvidia")
    try:
        cost = _cost(plugin)
    finally:
        plugin.end()
    yield from _figures("nvidia_real", f"a real NVIDIA driver, {cost.devices} devices", cost)
    asked = median([_milliseconds(lambda: subprocess.run(QUERY, capture_output=True, check=True)) for _ in range(10)])
    yield Figure(key="nvidia_smi_query_ms", value=round(asked, 2), meaning="nvidia-smi --query-gpu for the same, p50")
    yield Figure(
        key="nvidia_sample_to_smi_ratio",
        value=round(cost.sample_ms / asked, 4),
        meaning="our measurement / nvidia-smi's",
        aim=1,
    )
    if (detected := _detector_ms()) is not None:
        yield Figure(
            key="gpustack_runtime_detect_ms", value=round(detected, 2), meaning="gpustack-runtime's detector, p50, warm"
        )
        yield Figure(
            key="nvidia_sample_to_detector_ratio",
            value=round(cost.sample_ms / detected, 4),
            meaning="our measurement / that detector's",
        )


def _detector_ms() -> float | None:
    """Return how long the published detector takes, warm, in a process of its own; None where it is not installed."""
    program = (
        f"{DETECTOR}\nimport time\ndetect()\ntook = []\n"
        "for _ in range(10):\n    start = time.perf_counter()\n    detect()\n"
        "    took.append(time.perf_counter() - start)\nprint(sorted(took)[5] * 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if done.returncode:
        _tell("gpustack-runtime is not installed here: nothing is compared with its detector")
        return None
    return float(done.stdout.split()[-1])


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def _tell(line: str) -> None:
    print(f"   {line}", file=sys.stderr, flush=True)
