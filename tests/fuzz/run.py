"""`make fuzz`: look for bytes that a reader mishandles, by coverage, for so many seconds.

What it finds interesting stays in .cache/fuzz; what it finds wrong is a file there, named in its last lines: put it
into the corpus with the repair.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).resolve().parent / "corpus"
CACHE = ROOT / ".cache" / "fuzz"
LONGEST_BYTES = 1 << 16
SLOWEST_SECONDS = 2
RESIDENT_MIB = 512
sys.path[:0] = [str(ROOT), str(CACHE / "packages")]


def main() -> int:
    """Fuzz one target; libFuzzer ends the process itself, with 0 where it found nothing."""
    parser = argparse.ArgumentParser(description="Fuzz a reader.")
    parser.add_argument("name", nargs="?", default="gguf", choices=sorted(each.name for each in CORPUS.iterdir()))
    parser.add_argument("--seconds", type=int, default=60)
    given = parser.parse_args()
    try:
        import atheris  # optional
    except ImportError as error:
        print(f"fuzz: skipped: atheris is not there ({error}); it has wheels for CPython 3.11 to 3.13 on Linux x86-64")
        return 0
    with atheris.instrument_imports(include=["motorpool_formats"]):
        from tests.fuzz.targets import TARGETS  # after atheris, or its branches go unseen
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
        TARGETS[given.name],
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
