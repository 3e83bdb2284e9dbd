"""Files of a hub as readers see them: a folder and byte sources. Only what is read travels, and a little ahead."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from motorpool_controller.catalog.threads import begun
from motorpool_formats.places import MAX_FILES

FIRST_BYTES = 128 << 10
"""The least that is fetched: most safetensors headers, and a config.json, in one request."""

MOST_AHEAD_BYTES = 4 << 20

AHEAD_FILES = 8
"""Parts of a model whose beginnings are fetched while one is read: large models have hundreds of parts."""

_PART = re.compile(r"(.*)-\d{5}-of-(\d{5}\.\w+)")

Fetch = Callable[[str, int, int], bytes]
"""Returns so many bytes (third) of a file (first) from an offset (second); raises where they cannot be had."""


class RemoteFolder:
    """One revision of a repository. Its files may be opened by several threads at once."""

    def __init__(self, name: str, sizes: Mapping[str, int], fetch: Fetch) -> None:
        self._name = name
        shown = sorted(file for file in sizes if not _hidden(file))
        self._sizes = {file: sizes[file] for file in shown[:MAX_FILES]}
        self._fetch = fetch
        self._heads: dict[str, Future[bytes]] = {}
        self._opened: set[str] = set()
        self._opening = threading.Lock()

    @property
    def name(self) -> str:
        """What errors call it."""
        return self._name

    def files(self) -> Mapping[str, int]:
        """Return sizes by name, sorted; hidden files and folders are passed over."""
        return self._sizes

    def open(self, name: str) -> RemoteFile:
        """Open a file. Nothing is fetched yet, but of a model's part: the beginnings of those that follow."""
        size = self._sizes.get(name)
        if size is None:
            raise FileNotFoundError(f"{name} is not in {self._name}")
        with self._opening:
            self._opened.add(name)
            for part in self._following(name):
                if part not in self._heads and part not in self._opened:
                    self._heads[part] = self._begin(part)
            head = self._heads.pop(name, None)
        return RemoteFile(name, size, self._fetch, b"" if head is None else head.result())

    def _following(self, name: str) -> Sequence[str]:
        this = _PART.fullmatch(name)
        if this is None:
            return ()
        parts = [file for file in self._sizes if (other := _PART.fullmatch(file)) and other.groups() == this.groups()]
        at = parts.index(name)
        return parts[at + 1 : at + 1 + AHEAD_FILES]

    def _begin(self, name: str) -> Future[bytes]:
        """Begin to fetch a file's beginning."""
        return begun(lambda: self._fetch(name, 0, min(FIRST_BYTES, self._sizes[name])), "look-ahead")


class RemoteFile:
    """A file of a hub. Whoever reads on finds ever more fetched ahead; whoever jumps pays for what is read there."""

    def __init__(self, name: str, size: int, fetch: Fetch, head: bytes = b"") -> None:
        self._name = name
        self._size = size
        self._fetch = fetch
        self._start = 0
        self._buffer = head
        self._run = len(head)
        """Bytes fetched in one run without a jump: twice as many come next."""

    @property
    def name(self) -> str:
        """Its name inside the repository."""
        return self._name

    @property
    def size(self) -> int:
        """Its size as the hub lists it."""
        return self._size

    def read(self, offset: int, count: int) -> bytes:
        """Return ``count`` bytes from ``offset``; fewer at the file's end."""
        count = min(count, self._size - offset)
        if offset < 0 or count <= 0:
            return b""
        end = offset + count
        fetched = self._start + len(self._buffer)
        if not self._start <= offset <= fetched:
            self._start, self._buffer, self._run = offset, b"", 0
            fetched = offset
        if end > fetched:
            ahead = min(max(FIRST_BYTES, 2 * self._run), MOST_AHEAD_BYTES)
            wanted = min(max(end - fetched, ahead), self._size - fetched)
            more = self._fetch(self._name, fetched, wanted)
            self._run += len(more)
            # What lies before the offset was read, and is not asked for again.
            self._buffer = self._buffer[offset - self._start :] + more
            self._start = offset
        return self._buffer[offset - self._start : end - self._start]

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of what was fetched."""
        self._buffer = b""


def _hidden(file: str) -> bool:
    """Whether a name is hidden, or none that a file can have: a hub's listing is a stranger's."""
    return not file.isprintable() or any(part.startswith(".") or not part for part in file.split("/"))
