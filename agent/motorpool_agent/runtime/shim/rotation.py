"""The log of an engine, of bounded size."""

from __future__ import annotations

import os

READ_BYTES = 1 << 16
_DRAINED_READS = 64


class Log:
    """A log of bounded size: ``path``, then ``path.1``, … the oldest dropped. Never fails: an engine must not wait."""

    def __init__(self, path: str, limit_bytes: int, files: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._files = files
        self._descriptor = -1
        self._size_bytes = 0
        self._open()

    def write(self, content: bytes) -> None:
        """Append ``content``; what a full disk refuses is lost."""
        if self._size_bytes and self._size_bytes + len(content) > self._limit_bytes:
            self._rotate()
        try:
            if self._descriptor < 0:
                self._open()
            while content:
                written = os.write(self._descriptor, content)
                self._size_bytes += written
                content = content[written:]
        except OSError:
            return

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        try:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._size_bytes = os.fstat(self._descriptor).st_size
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
