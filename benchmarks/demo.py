"""`make demo`, from a clone and again: how long a stranger waits for the first answer.

Cold is a copy of this tree as a clone would be, in a temporary folder, with empty caches of its own: environment,
model, engine and pip's cache are all made. Nothing of this tree's .venv, .cache or of the user's caches is used or
touched. Warm is the same command there once more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import BenchmarkError, Figure

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_SECONDS = 1800


def measure() -> Sequence[Figure]:
    """Measure `make demo` cold and warm."""
    with tempfile.TemporaryDirectory(prefix="motorpool-bench-") as name:
        folder = Path(name)
        copy_as_clone(ROOT, folder / "clone")
        environ = {
            **{
                key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "VIRTUAL_ENV"))
            },
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PIP_CACHE_DIR": str(folder / "cache" / "pip"),
            "TMPDIR": str(folder),
        }
        environ.pop("DEMO_DIR", None)
        environ.pop("KEEP", None)
        cold_seconds, cold_demo_seconds = _make_demo(folder / "clone", environ)
        warm_seconds, _ = _make_demo(folder / "clone", environ)
    return (
        Figure(key="cold_seconds", value=round(cold_seconds, 1), meaning="`make demo` in a fresh clone, empty caches"),
        Figure(
            key="cold_setup_seconds",
            value=round(cold_seconds - cold_demo_seconds, 1),
            meaning="of these, before the demo itself begins: the environment",
        ),
        Figure(key="warm_seconds", value=round(warm_seconds, 1), meaning="`make demo` once more"),
        Figure(key="warm_to_cold_ratio", value=round(warm_seconds / cold_seconds, 3), meaning="warm / cold"),
    )


def copy_as_clone(root: Path, target: Path) -> None:
    """Copy what a clone of ``root`` would have, with what is changed and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - what is on the PATH is meant
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = root / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    # Some tasks ask git what there is.
    subprocess.run(["git", "init", "--quiet"], cwd=target, check=True)  # noqa: S607 - as above


def _make_demo(folder: Path, environ: dict[str, str]) -> tuple[float, float]:
    """Return the seconds of the whole command, and those that the demo itself tells."""
    begin = time.monotonic()
    try:
        done = subprocess.run(
            ["make", "demo", f"PYTHON={sys.executable}"],  # noqa: S607 - as above
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"make demo did not end within {TIMEOUT_SECONDS} s") from None
    seconds = time.monotonic() - begin
    told = re.search(r"The demo took ([\d.]+) s", done.stdout)
    if done.returncode or told is None:
        raise BenchmarkError(f"make demo ended with {done.returncode}:\n{done.stdout[-3000:]}")
    print(f"make demo: {seconds:.1f} s, {told[1]} s of them the demo itself", file=sys.stderr, flush=True)
    return seconds, float(told[1])
