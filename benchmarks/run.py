"""`make bench`: run the benchmarks of this folder; the last line of stdout is one JSON object.

With a name, that benchmark alone runs, and the object is its figures. Without, all run, the object holds theirs by
name, and the tables in README.md are renewed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
sys.path.insert(0, str(ROOT))

from benchmarks.figures import BenchmarkError, Figure, machine, table  # noqa: E402 - found from the root


class Benchmark(Protocol):
    """A module of this folder that measures."""

    def measure(self) -> Sequence[Figure]:
        """Measure, telling on stderr how far it is."""


def main(arguments: Sequence[str], folder: Path = FOLDER) -> int:
    """Run what was asked for, and return the exit code."""
    known = discover(folder)
    unknown = [name for name in arguments if name not in known]
    if unknown:
        print(f"There is no benchmark {unknown[0]}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    # Kept for the last line: what a benchmark's children print on stdout goes to stderr.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    before = os.dup(1)
    os.dup2(2, 1)
    try:
        results = {name: measure(name, known[name]) for name in arguments or known}
    except BenchmarkError as error:
        print(f"The benchmark failed: {error}", file=sys.stderr)
        return 1
    finally:
        os.dup2(before, 1)
        os.close(before)
    if not arguments:
        renew(folder / "README.md", results)
    documents = {name: document(figures) for name, figures in results.items()}
    with answer:
        print(json.dumps(documents[arguments[0]] if len(arguments) == 1 else documents), file=answer)
    return 0


def discover(folder: Path) -> dict[str, Path]:
    """Return the folder's benchmarks by name: the modules that define ``measure``."""
    return {
        path.stem: path
        for path in sorted(folder.glob("*.py"))
        if re.search(r"^def measure\(", path.read_text(encoding="utf-8"), re.MULTILINE) and path.stem != "run"
    }


def measure(name: str, path: Path) -> Sequence[Figure]:
    """Run one benchmark and show its table."""
    print(f"== {name}", file=sys.stderr, flush=True)
    specification = importlib.util.spec_from_file_location(f"benchmarks.{name}", path)
    if specification is None or specification.loader is None:
        raise BenchmarkError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    figures = cast("Benchmark", module).measure()
    print(table(figures), file=sys.stderr, flush=True)
    return figures


def document(figures: Sequence[Figure]) -> dict[str, float | str]:
    """Return figures as JSON's own types, with the machine."""
    return {**{figure.key: figure.value for figure in figures}, "machine": machine()}


def renew(readme: Path, results: Mapping[str, Sequence[Figure]]) -> None:
    """Put the tables between their markers."""
    content = readme.read_text(encoding="utf-8")
    for name, figures in results.items():
        begin, end = f"<!-- figures: {name} -->\n", f"<!-- end: {name} -->"
        if begin not in content or end not in content:
            raise BenchmarkError(f"{readme} has no markers {begin.strip()} and {end}; add them where the table belongs")
        head, rest = content.split(begin, 1)
        content = f"{head}{begin}{table(figures)}{end}{rest.split(end, 1)[1]}"
    readme.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
