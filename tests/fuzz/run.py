"""`make fuzz`: look for bytes that a reader or a service mishandles, by coverage, for so many seconds.

What it finds interesting stays in .cache/fuzz; what it finds wrong is a file there, named in its last lines: put it
into the corpus with the repair.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).resolve().parent / "corpus"
CACHE = ROOT / ".cache" / "fuzz"
LONGEST_BYTES = 1 << 16
MEMORY = Path("/dev/shm")
SLOWEST_SECONDS = 10
RESIDENT_MIB = 1024
SHOWN_CHARACTERS = 8_000
sys.path[:0] = [str(ROOT), str(CACHE / "packages")]


def main() -> int:
    """Fuzz one target; libFuzzer ends the process itself, with 0 where it found nothing."""
    parser = argparse.ArgumentParser(description="Fuzz one target, or all of them.")
    names = sorted(each.name for each in CORPUS.iterdir())
    parser.add_argument("name", nargs="?", default="gguf", choices=[*names, "all"])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--here", action="store_true", help="in this process, which libFuzzer ends")
    given = parser.parse_args()
    if not given.here:
        return max(_fuzzed(name, given.seconds) for name in (names if given.name == "all" else [given.name]))
    try:
        import atheris  # optional
    except ImportError as error:
        print(f"fuzz: skipped: atheris is not there ({error}); it has wheels for CPython 3.11 to 3.13 on Linux x86-64")
        return 0
    from tests.fuzz.targets import TARGETS, target  # after the path was set

    # Libraries are not ours to cover: what they do is seen in what ours does with it.
    with atheris.instrument_imports(include=list(TARGETS[given.name][1])):
        fuzzed = target(given.name)
    # What is refused is logged as in earnest, thousands of times a second.
    logging.disable(logging.CRITICAL)
    found = CACHE / given.name
    found.mkdir(parents=True, exist_ok=True)
    options = {
        "max_total_time": given.seconds,
        "max_len": LONGEST_BYTES,
        "timeout": SLOWEST_SECONDS,
        "rss_limit_mb": RESIDENT_MIB,
        "artifact_prefix": f"{CACHE}/{given.name}-",
        "print_final_stats": 1,
    }
    atheris.Setup(
        [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(found), str(CORPUS / given.name)],
        fuzzed,
    )
    atheris.Fuzz()
    return 0


def _fuzzed(name: str, seconds: int) -> int:
    """Fuzz one target in a process of its own, which libFuzzer ends; show what it says where it found something."""
    began = time.monotonic()
    # libFuzzer ends its process without a word to Python, so that what that made is ours to remove.
    with tempfile.TemporaryDirectory(prefix="motorpool-fuzz-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        done = subprocess.run(
            [sys.executable, __file__, name, "--here", "--seconds", str(seconds)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "TMPDIR": folder},
        )
    runs = re.search(r"stat::number_of_executed_units: (\d+)", done.stdout)
    what = "failed" if done.returncode else f"{runs[1]} inputs" if runs else done.stdout.strip()
    print(f"fuzz: {name}: {what}, {time.monotonic() - began:.0f} s", flush=True)
    if done.returncode:
        print(done.stdout[-SHOWN_CHARACTERS:])
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
