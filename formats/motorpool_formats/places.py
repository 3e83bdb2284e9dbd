"""Where a model's files lie on this machine, as readers see a folder and a file anywhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from motorpool_formats.protocols import ByteSource, Folder

MAX_FILES = 10_000
"""Files of one folder that are looked at; a model has at most some hundred."""

MAX_DEPTH = 3
"""Folders below the model's own; a pipeline's components and tokenizers lie one or two down."""


def place_of(path: Path) -> tuple[Path, str]:
    """Return where a path leads on this machine, and the pattern that follows a folder after its last colon.

    What exists as it is written is no folder with a pattern: names may have colons.
    """
    head, colon, pattern = str(path).rpartition(":")
    if not colon or not pattern or os.path.lexists(path) or not Path(head).is_dir():
        return path, ""
    return Path(head), pattern


class LocalFolder:
    """A folder of this machine. Only regular files below it count; links are followed for files, not for folders.

    ``depth`` is how many folders below its own are looked into, ``suffix`` how names end that are listed.
    """

    def __init__(self, path: Path, *, depth: int = MAX_DEPTH, suffix: str = "") -> None:
        self._path = path
        self._depth = depth
        self._suffix = suffix

    @property
    def name(self) -> str:
        """Its path."""
        return str(self._path)

    def files(self) -> Mapping[str, int]:
        """Return sizes by name, sorted; hidden files and folders are passed over."""
        sizes: dict[str, int] = {}
        for folder, below, names in os.walk(self._path, onerror=_raise):
            inside = Path(folder).relative_to(self._path)
            below[:] = (
                sorted(entry for entry in below if not entry.startswith(".")) if len(inside.parts) < self._depth else []
            )
            for name in sorted(names):
                if name.startswith(".") or not name.lower().endswith(self._suffix):
                    continue
                status = _status(Path(folder) / name)
                if status is None:
                    continue
                sizes[(inside / name).as_posix()] = status.st_size
                if len(sizes) >= MAX_FILES:
                    return sizes
        return sizes

    def open(self, name: str) -> LocalFile:
        """Open a file of the folder."""
        return LocalFile(self._path / name, name)


class CountedFolder:
    """A folder that tells what was read of it: how many times, and how many bytes."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.reads = 0
        self.bytes_read = 0

    @property
    def name(self) -> str:
        """The folder's own."""
        return self._folder.name

    def files(self) -> Mapping[str, int]:
        """Return the folder's files."""
        return self._folder.files()

    @contextmanager
    def open(self, name: str) -> Iterator[ByteSource]:
        """Open a file whose reads count."""
        with self._folder.open(name) as source:
            yield _CountedSource(source, self)


class _CountedSource:
    def __init__(self, source: ByteSource, tally: CountedFolder) -> None:
        self._source = source
        self._tally = tally

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def size(self) -> int:
        return self._source.size

    def read(self, offset: int, count: int) -> bytes:
        content = self._source.read(offset, count)
        self._tally.reads += 1
        self._tally.bytes_read += len(content)
        return content


class LocalFile:
    """A file of this machine, open for reading until the context ends."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        self._path = path
        self._name = path.name if name is None else name
        self._file = path.open("rb", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size

    @property
    def name(self) -> str:
        """Its name inside its folder."""
        return self._name

    @property
    def size(self) -> int:
        """Its size when it was opened."""
        return self._size

    def read(self, offset: int, count: int) -> bytes:
        """Return ``count`` bytes from ``offset``; fewer at the end."""
        pieces: list[bytes] = []
        while count > 0:
            piece = os.pread(self._file.fileno(), count, offset)
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            count -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()


def _status(path: Path) -> os.stat_result | None:
    try:
        status = path.stat()
    except OSError:  # a broken link: as good as not there
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _raise(error: OSError) -> None:
    raise error
