"""What llama.cpp says that it takes: its own log of a model's buffers, in bytes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20

_WEIGHTS = re.compile(r"load_tensors: +\S+ +model buffer size = +([\d.]+) MiB")
_CACHE = re.compile(r"llama_(?:kv_cache|memory_recurrent): size = +([\d.]+) MiB")
_COMPUTE = re.compile(r"sched_reserve: +\S+ compute buffer size = +([\d.]+) MiB")
_RESULTS = re.compile(r"llama_context: +\S+ +output buffer size = +([\d.]+) MiB")
_ROW = re.compile(r"common_memory_breakdown_print: \| +- \S+ +\| +\d+ = +(\d+) \+ +\d+ \+ +\d+")

_PLANNED = "fitting params to free memory took"
_LOADED = "model loaded"


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Bytes as printed, to a hundredth of a MiB; weights of a plan to a MiB for each kind of memory."""

    weights: float
    cache: float
    compute: float
    results: float


def engine_memory(
    python: Path, launcher: Path, model: Path, arguments: Sequence[str] = (), *, planned: bool
) -> EngineMemory:
    """Return what the engine takes for a model; ``planned``: what it means to take, before it takes anything.

    A model with holes for weights is only ever planned.
    """
    command = [str(python), str(launcher), "--model", str(model), "--port", "0", "--verbosity", "5"]
    command += ["--load-mode", "none", "--cache-ram", "0", "--no-warmup", "--threads", "1", *arguments]
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            lines.append(line)
            if (_PLANNED if planned else _LOADED) in line:
                break
        run.kill()
    # The engine plans before it loads, and logs both.
    begin = next((index for index, line in enumerate(lines) if _PLANNED in line), 0)
    log = "".join(lines[: begin + 1] if planned else lines[begin:])
    if not _COMPUTE.search(log):
        raise AssertionError(f"the engine did not load {model.name}: " + json.dumps(lines[-12:], indent=1))
    return EngineMemory(
        weights=_sum(_ROW if planned else _WEIGHTS, log),
        cache=_sum(_CACHE, log),
        compute=_sum(_COMPUTE, log),
        results=_sum(_RESULTS, log),
    )


def _sum(pattern: re.Pattern[str], log: str) -> float:
    return sum(float(number) for number in pattern.findall(log)) * MIB
