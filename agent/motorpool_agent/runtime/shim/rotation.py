"""The log of an engine, of bounded size, with the time at the beginning of each line."""

from __future__ import annotations

import os
import time

READ_BYTES = 1 << 16
_DRAINED_READS = 64


def stamp(seconds: float) -> bytes:
    """Return a time as lines begin with it, e.g. ``2026-11-21T20:06:30.123456Z`` and a space: always as long."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return b"%s.%06dZ " % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)).encode("ascii"), micros)


class Log:
    """A log of bounded size: ``path``, then ``path.1``, … the oldest dropped. Never fails: an engine must not wait."""

    def __init__(self, path: str, limit_bytes: int, files: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._files = files
        self._descriptor = -1
        self._size_bytes = 0
        # Whether the file ends within a line, and whether the next byte begins one of the engine's.
        self._within = False
        self._begins = True
        self._open()
        self._begins = not self._within

    def write(self, content: bytes, at: bytes = b"") -> None:
        """Append ``content``, written ``at`` a time (now, if not given); what a full disk refuses is lost."""
        if not content:
            return
        mark = at or stamp(time.time())
        text = content.replace(b"\n", b"\n" + mark)
        ends = content.endswith(b"\n")
        if ends:
            text = text[: -len(mark)]
        if self._begins:
            # After a loss the rest of a line stands there.
            text = (b"\n" if self._within else b"") + mark + text
        if self._size_bytes and self._size_bytes + len(text) > self._limit_bytes:
            # A part begins with a line, and so with its time, unless the line is longer than all bounds.
            edge = 0 if self._begins else text.find(b"\n") + 1
            if edge or self._begins or self._size_bytes > self._limit_bytes:
                self._append(text[:edge])
                self._rotate()
                text = text[edge:]
        self._begins = ends
        if not self._append(text):
            self._begins = True

    def _append(self, text: bytes) -> bool:
        """Write to the file, and return whether it took all of it."""
        try:
            if self._descriptor < 0:
                self._open()
            while text:
                written = os.write(self._descriptor, text)
                self._size_bytes += written
                self._within = text[written - 1 : written] != b"\n"
                text = text[written:]
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._size_bytes = os.fstat(self._descriptor).st_size
            if self._size_bytes:
                self._within = os.pread(self._descriptor, 1, self._size_bytes - 1) != b"\n"
        except OSError:
            self._descriptor = -1

    def _rotate(self) -> None:
        try:
            for number in range(self._files - 1, 0, -1):
                source = self._path if number == 1 else f"{self._path}.{number - 1}"
                if os.path.exists(source):  # noqa: PTH110  # pathlib costs 5 ms
                    os.rename(source, f"{self._path}.{number}")  # noqa: PTH104
        except OSError:
            return
        os.close(self._descriptor)
        self._open()

    def copy(self, source: int) -> bool:
        """Append what can be read now from a pipe; return False when every writer is gone."""
        try:
            content = os.read(source, READ_BYTES)
        except BlockingIOError:
            return True
        self.write(content)
        return bool(content)

    def drain(self, source: int) -> None:
        """Append what is left in a pipe; not for ever, should a child of a dead engine go on writing."""
        for _ in range(_DRAINED_READS):
            try:
                content = os.read(source, READ_BYTES)
            except BlockingIOError:
                return
            if not content:
                return
            self.write(content)
