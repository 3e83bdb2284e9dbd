"""Instances' logs: one chain of files per run, rotated by the shim, read without holding more than a chunk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import BinaryIO, Self

LIMIT_BYTES = 8 << 20
FILES = 4
SHIM_ERRORS = "shim.log"

_FOLDER = "logs"
_SUFFIX = ".log"
_CHUNK_BYTES = 1 << 16
_LINE_BYTES = 1 << 15
_LOOK_SECONDS = 0.1


def path(directory: Path, run: int) -> Path:
    """Return the newest file of a run; older parts have ``.1``, ``.2``, … appended."""
    return directory / _FOLDER / f"{run:06d}{_SUFFIX}"


def prepare(directory: Path, run: int, working_directory: Path) -> Path:
    """Make room for a new run, keeping the log of the last one before it, and return its file."""
    working_directory.mkdir(parents=True, exist_ok=True)
    new = path(directory, run)
    new.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    earlier = [number for number in runs(directory) if number < run]
    for file in list(new.parent.iterdir()):
        if not earlier or not file.name.startswith(path(directory, earlier[-1]).name):
            file.unlink(missing_ok=True)
    return new


def runs(directory: Path) -> list[int]:
    """Return the runs whose logs are kept, oldest first."""
    try:
        names = [file.name for file in (directory / _FOLDER).iterdir()]
    except OSError:
        return []
    stems = {name.partition(".")[0] for name in names}
    return sorted(int(stem) for stem in stems if stem.isdigit())


def last_text(file: Path, limit_bytes: int) -> str:
    """Return the end of a small file as text, empty if there is none."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - limit_bytes))
            return stream.read().decode(errors="replace").strip()
    except OSError:
        return ""


def tail(directory: Path, run: int, count: int) -> list[str]:
    """Return the last lines of a run."""
    found: list[str] = []
    with Reader(directory, run, count) as reader:
        while batch := reader.read():
            found += batch
        found += reader.rest()
    return found[-count:]


async def lines(
    directory: Path,
    *,
    tail_lines: int,
    follow: bool = False,
    previous: bool = False,
    ended: Callable[[], bool] = lambda: False,
) -> AsyncGenerator[list[str], None]:
    """Yield batches of lines: the last ``tail_lines`` (negative: all), then, following, new ones.

    Following goes on over rotation and over the instance's restarts.

    ``previous`` is the run before the last restart. Following ends when ``ended()`` says that the instance is gone.
    """
    kept = await asyncio.to_thread(runs, directory)
    if previous:
        follow, kept = False, kept[:-1]
    with Reader(directory, kept[-1] if kept else 0, tail_lines, follow=follow) as reader:
        while True:
            # Asked before reading: what is written before the end is still delivered.
            last = not follow or ended()
            batch = await asyncio.to_thread(reader.read)
            if batch:
                yield batch
            elif last:
                break
            else:
                await asyncio.sleep(_LOOK_SECONDS)
        if rest := reader.rest():
            yield rest


class Reader:
    """A place in a run's log. It keeps its file open, so that rotation loses nothing, and moves on when it is read."""

    def __init__(self, directory: Path, run: int, tail_lines: int, *, follow: bool = False) -> None:
        self._directory = directory
        self._run = run
        self._follow = follow
        self._file: BinaryIO | None = None
        self._rest = b""
        self._seek(tail_lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self) -> list[str]:
        """Return the next whole lines, at most a chunk of them; none at the present end."""
        while True:
            content = b"" if self._file is None else self._file.read(_CHUNK_BYTES)
            if not content:
                if not self._advance():
                    return []
                continue
            *whole, self._rest = (self._rest + content).split(b"\n")
            if len(self._rest) > _LINE_BYTES:
                whole.append(self._rest)
                self._rest = b""
            if whole:
                return [_text(line) for line in whole]

    def rest(self) -> list[str]:
        """Return the last line if it has no end yet."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []

    def _advance(self) -> bool:
        """Go to the next part, or following to the next run; return whether there may be more to read."""
        parts = _parts(self._directory, self._run)
        here = -1
        if self._file is not None:
            inode = os.fstat(self._file.fileno()).st_ino
            here = next((index for index, part in enumerate(parts) if _inode(part) == inode), -1)
        if parts and here < len(parts) - 1:
            following = parts[here + 1]
        else:
            later = [run for run in runs(self._directory) if run > self._run] if self._follow else []
            if not later:
                return False
            following = _parts(self._directory, later[0])[0]
        if self._file is not None and (late := self._file.read(_CHUNK_BYTES)):
            # Written after the last look and before the file was put away.
            self._file.seek(-len(late), os.SEEK_CUR)
            return True
        try:
            opened = following.open("rb")
        except OSError:
            # Rotated in between: the next look finds it.
            return False
        if self._file is not None:
            self._file.close()
        self._file = opened
        self._run = int(following.name.partition(".")[0])
        return True

    def _seek(self, tail_lines: int) -> None:
        """Go to where the last ``tail_lines`` begin."""
        parts = _parts(self._directory, self._run)
        wanted = tail_lines
        end_seen = False
        for part in reversed(parts):
            try:
                file = part.open("rb")
            except OSError:
                break
            if self._file is not None:
                self._file.close()
            self._file = file
            position = file.seek(0, os.SEEK_END)
            if position and not end_seen and tail_lines > 0:
                # A newline at the very end ends the last line; it begins none.
                file.seek(position - 1)
                wanted += file.read(1) == b"\n"
                end_seen = True
            while position and tail_lines >= 0:
                if wanted == 0:
                    return
                start = max(0, position - _CHUNK_BYTES)
                file.seek(start)
                chunk = file.read(position - start)
                end = len(chunk)
                while wanted and (end := chunk.rfind(b"\n", 0, end)) >= 0:
                    wanted -= 1
                    if wanted == 0:
                        file.seek(start + end + 1)
                        return
                position = start
            if tail_lines == 0:
                return
            file.seek(0)


def _parts(directory: Path, run: int) -> list[Path]:
    """Return the files of a run, oldest first."""
    newest = path(directory, run)
    candidates = [newest.with_name(f"{newest.name}.{number}") for number in range(FILES - 1, 0, -1)]
    return [part for part in (*candidates, newest) if part.exists()]


def _inode(part: Path) -> int:
    try:
        return part.stat().st_ino
    except OSError:
        return 0


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", "replace")
