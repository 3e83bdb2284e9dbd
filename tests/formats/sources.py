"""Files and folders in memory, which know how they were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class BytesSource:
    """A file's bytes, for readers that know nothing of disks; ``size`` may be claimed."""

    def __init__(self, content: bytes, name: str = "m.gguf", *, size: int | None = None) -> None:
        self._content = content
        self._name = name
        self._size = len(content) if size is None else size
        self.reads = 0
        self.bytes_read = 0
        self.largest_read = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def size(self) -> int:
        return self._size

    def read(self, offset: int, count: int) -> bytes:
        assert 0 <= offset
        assert 0 <= count <= self._size - offset, "asked for more than there is"
        content = self._content[offset : offset + count]
        self.reads += 1
        self.bytes_read += len(content)
        self.largest_read = max(self.largest_read, count)
        return content


class MemoryFolder:
    """A folder of such files, as a hub would give one; each may claim to have ``claimed_bytes``."""

    def __init__(
        self, files: Mapping[str, bytes], name: str = "owner/model", *, claimed_bytes: int | None = None
    ) -> None:
        self._files = dict(files)
        self._claimed_bytes = claimed_bytes
        self.name = name
        self.opened: list[str] = []
        self.sources: list[BytesSource] = []

    def files(self) -> Mapping[str, int]:
        return {name: self._claimed_bytes or len(self._files[name]) for name in sorted(self._files)}

    @contextmanager
    def open(self, name: str) -> Iterator[BytesSource]:
        self.opened.append(name)
        self.sources.append(BytesSource(self._files[name], name, size=self._claimed_bytes))
        yield self.sources[-1]
