"""A place in a run's log, which moves on as it is read, over rotation and into later runs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from motorpool_agent.runtime import logs

Line = tuple[bytes, bytes]
"""When a line began, empty where nobody noted it, and the line."""

_CHUNK_BYTES = 1 << 16
_LINE_BYTES = 1 << 15
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ")
_STAMP_BYTES = 28


@dataclass(frozen=True, slots=True)
class Place:
    """Behind so many bytes of a part of a run's log. A part is known by how it begins, as its name changes."""

    run: int
    part: str
    offset: int

    def __str__(self) -> str:
        return f"{self.run}/{self.part}/{self.offset}"

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Return the place that a text names, None where it names none."""
        run, _, rest = text.partition("/")
        part, _, offset = rest.rpartition("/")
        return cls(int(run), part, int(offset)) if run.isdecimal() and offset.isdecimal() else None


class Reader:
    """Reads on from a place. It keeps its file open, so that rotation loses nothing.

    It begins with the last ``tail_lines`` (negative: the first there is), or at a ``place``, and leaves out lines of
    before ``since`` (as stamps are written). ``lost`` says that the place was no longer there, or that its file was
    rotated away before the next one was looked at.
    """

    def __init__(
        self,
        directory: Path,
        run: int,
        tail_lines: int,
        *,
        follow: bool = False,
        since: bytes = b"",
        place: Place | None = None,
    ) -> None:
        self._directory = directory
        self._run = run
        self._follow = follow
        self._since = b"" if place is not None else since
        self._file: BinaryIO | None = None
        self._rest = b""
        self._begins = True
        self._early = bool(self._since)
        self.lost = False
        if place is None:
            self._seek(tail_lines)
        else:
            self._resume(place)
        self._mark()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self) -> list[Line]:
        """Return the next whole lines, at most a chunk of them; none at the present end."""
        while True:
            content = b"" if self._file is None else self._file.read(_CHUNK_BYTES)
            if not content:
                if not self._advance():
                    return []
                continue
            *whole, self._rest = (self._rest + content).split(b"\n")
            cut = len(self._rest) > _LINE_BYTES
            if cut:
                whole.append(self._rest)
                self._rest = b""
            if whole:
                self._mark(unread=len(self._rest))
                found = self._timely(whole)
                self._begins = not cut
                if found:
                    return found

    def rest(self) -> list[Line]:
        """Return the last line if it has no end yet."""
        rest, self._rest = self._rest, b""
        return self._timely([rest]) if rest else []

    def _timely(self, whole: list[bytes]) -> list[Line]:
        """Take the lines apart, and leave out those of before the time that is asked for."""
        found = []
        for line in whole:
            stamped = self._begins and _STAMP.match(line) is not None
            self._begins = True
            time = line[: _STAMP_BYTES - 1] if stamped else b""
            if self._early:
                # Of what has no time nobody knows: it goes with the line before it.
                self._early = time < self._since if stamped else self._early
            if not self._early:
                found.append((time, (line[_STAMP_BYTES:] if stamped else line).rstrip(b"\r")))
        return found

    def _mark(self, *, unread: int = 0) -> None:
        """Note where what was returned ends; ``unread`` is the beginning of a line, all in this part."""
        if self._file is None:
            self.place = Place(self._run, "", 0)
        else:
            self.place = Place(self._run, _name(self._file), self._file.tell() - unread)

    def _advance(self) -> bool:
        """Go to the next part, or following to the next run; return whether there may be more to read."""
        parts = logs.parts(self._directory, self._run)
        here = -1
        if self._file is not None:
            inode = os.fstat(self._file.fileno()).st_ino
            here = next((index for index, part in enumerate(parts) if _inode(part) == inode), -1)
        if parts and here < len(parts) - 1:
            following = parts[here + 1]
            # Its own file is gone: so much was written since that nobody knows what else went.
            self.lost = self.lost or (self._file is not None and here < 0)
        else:
            later = [run for run in logs.runs(self._directory) if run > self._run] if self._follow else []
            candidates = logs.parts(self._directory, later[0]) if later else []
            if not candidates:
                return False
            following = candidates[0]
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
        run = int(following.name.partition(".")[0])
        if self._rest and run != self._run:
            # The last line of a run may have no end.
            self._rest += b"\n"
        self._run = run
        if not self._rest:
            self._mark()
        return True

    def _resume(self, place: Place) -> None:
        """Go to a place of before; to the oldest that is left, where it is not there any more."""
        parts = logs.parts(self._directory, self._run)
        for part in parts if place.run == self._run else ():
            file = _opened(part)
            if file is None:
                continue
            if (_name(file) == place.part or not place.part) and place.offset <= file.seek(0, os.SEEK_END):
                file.seek(place.offset)
                self._file = file
                return
            file.close()
        self.lost = bool(place.part)
        self._file = _opened(parts[0]) if parts else None

    def _seek(self, tail_lines: int) -> None:
        """Go to where the last ``tail_lines`` begin."""
        wanted = tail_lines
        end_seen = False
        for part in reversed(logs.parts(self._directory, self._run)):
            file = _opened(part)
            if file is None:
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


def _opened(part: Path) -> BinaryIO | None:
    try:
        return part.open("rb")
    except OSError:
        return None


def _name(file: BinaryIO) -> str:
    """Return what tells a part from the others for good: when it begins, or its number on disk where nobody noted."""
    head = os.pread(file.fileno(), _STAMP_BYTES, 0)
    return head[:-1].decode("ascii") if _STAMP.fullmatch(head) else f"inode-{os.fstat(file.fileno()).st_ino}"


def _inode(part: Path) -> int:
    try:
        return part.stat().st_ino
    except OSError:
        return 0
