"""Instances' logs: one chain of files per run, rotated by whoever writes it, kept for the attempts that are kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

LIMIT_BYTES = 8 << 20
FILES = 4
SHIM_ERRORS = "shim.log"

_FOLDER = "logs"
_SUFFIX = ".log"


def path(directory: Path, run: int) -> Path:
    """Return the newest file of a run; older parts have ``.1``, ``.2``, … appended."""
    return directory / _FOLDER / f"{run:06d}{_SUFFIX}"


def parts(directory: Path, run: int) -> list[Path]:
    """Return the files of a run, oldest first."""
    newest = path(directory, run)
    candidates = [newest.with_name(f"{newest.name}.{number}") for number in range(FILES - 1, 0, -1)]
    return [part for part in (*candidates, newest) if part.exists()]


def prepare(directory: Path, run: int, working_directory: Path) -> Path:
    """Make room for a new run, and return its file; what a start of before that came to nothing left goes."""
    working_directory.mkdir(parents=True, exist_ok=True)
    new = path(directory, run)
    new.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in list(new.parent.iterdir()):
        number = _run_of(file)
        if number is not None and number >= run:
            file.unlink(missing_ok=True)
    return new


def keep(directory: Path, kept: Collection[int]) -> None:
    """Remove the logs of all runs but ``kept`` and the last one."""
    stay = {*kept, *runs(directory)[-1:]}
    with contextlib.suppress(OSError):
        for file in list((directory / _FOLDER).iterdir()):
            if _run_of(file) not in stay:
                file.unlink(missing_ok=True)


def runs(directory: Path) -> list[int]:
    """Return the runs whose logs are kept, oldest first."""
    try:
        files = list((directory / _FOLDER).iterdir())
    except OSError:
        return []
    return sorted({number for number in map(_run_of, files) if number is not None})


def attempt(kept: Sequence[int], wanted: int) -> int | None:
    """Return the run that a reader means: by its number, or counted back from the last one, which is 0."""
    if wanted > 0:
        return wanted if wanted in kept else None
    return kept[wanted - 1] if -wanted < len(kept) else None


def last_text(file: Path, limit_bytes: int) -> str:
    """Return the end of a small file as text, empty if there is none."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - limit_bytes))
            return stream.read().decode(errors="replace").strip()
    except OSError:
        return ""


def _run_of(file: Path) -> int | None:
    stem = file.name.partition(".")[0]
    return int(stem) if stem.isdigit() else None
