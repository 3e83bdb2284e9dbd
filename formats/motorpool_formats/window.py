"""Reading the beginning of a file once, front to back."""

import hashlib
from itertools import repeat
from struct import Struct
from struct import error as StructError  # noqa: N812  # its own name is what every other error is called

from motorpool_formats.errors import ModelCorruptError, ModelIncompleteError, shown
from motorpool_formats.protocols import ByteSource

FIRST_BYTES = 1 << 16
"""The first read: all of the header of a part or a projector, and of few models with a tokenizer."""

CHUNK_BYTES = 1 << 20
"""The largest read. Each is twice the one before, so that at most half of what a hub sends is not header."""

_LENGTH = Struct("<Q")


class Window:
    """A moving view of a file's header: few reads, a digest of what passed, no step beyond file or limit.

    ``what`` is what a step is about, for its error; it may hold a name from the file.

    Not an mmap: a file that shrinks under a mapping ends the process with SIGBUS, and a hub has nothing to map.
    """

    def __init__(self, source: ByteSource, limit_bytes: int) -> None:
        self.name = source.name
        self.size_bytes = source.size
        self._source = source
        self._limit_bytes = limit_bytes
        self._next_bytes = FIRST_BYTES
        self._hash = hashlib.sha256()
        self._start = 0
        self._buffer = b""
        self._at = 0

    @property
    def position(self) -> int:
        """Where in the file the next byte comes from."""
        return self._start + self._at

    def peek(self, count: int) -> bytes:
        """Return the next bytes without passing them; fewer where the file ends."""
        self._fill(min(count, self.size_bytes - self.position), "its beginning")
        return self._buffer[self._at : self._at + count]

    def unpack(self, layout: Struct, what: str) -> tuple[int | float | bool, ...]:
        """Return the numbers that come next."""
        self._fill(layout.size, what)
        numbers = layout.unpack_from(self._buffer, self._at)
        self._at += layout.size
        return numbers

    def take(self, count: int, what: str) -> bytes:
        """Return the next bytes."""
        self._fill(count, what)
        taken = self._buffer[self._at : self._at + count]
        self._at += count
        return taken

    def skip(self, count: int, what: str) -> None:
        """Pass over the next bytes, holding no more than a read of them."""
        self.check(count, what)
        while count:
            self._fill(1, what)
            step = min(count, len(self._buffer) - self._at)
            self._at += step
            count -= step

    def skip_strings(self, count: int, what: str) -> None:
        """Pass over strings, each a 64-bit length and so many bytes, looking at the lengths alone."""
        length_at, length_bytes = _LENGTH.unpack_from, _LENGTH.size
        self.check(count * length_bytes, what)
        buffer, at = self._buffer, self._at
        for _ in repeat(None, count):  # half a million times for a large vocabulary: this loop is the time it takes
            try:
                (length,) = length_at(buffer, at)
            except (StructError, OverflowError):  # it lies beyond what was read, or any file
                self._at = min(at, len(buffer))
                self.skip(at - self._at, what)
                self._fill(length_bytes, what)
                buffer, at = self._buffer, self._at
                (length,) = length_at(buffer, at)
            at += length_bytes + length
        self._at = min(at, len(buffer))
        self.skip(at - self._at, what)

    def check(self, count: int, what: str) -> None:
        """Raise unless so many bytes follow: in a header of a sane size, and in this file."""
        end = self.position + count
        if end > self._limit_bytes:
            raise ModelCorruptError(
                self.name,
                f"{shown(what)} would end at byte {end}, and no header is longer than {self._limit_bytes} bytes",
                "download or convert the model again",
                offset=self.position,
            )
        if end > self.size_bytes:
            raise self.truncated(what, end)

    def truncated(self, what: str, end: int) -> ModelIncompleteError:
        """Return the error for something that goes on after the file's end."""
        return ModelIncompleteError(
            self.name,
            f"the file is truncated: {shown(what)} ends at byte {end}, the file has {self.size_bytes}",
            "finish the download or repeat it",
            offset=self.position,
        )

    def sha256(self) -> bytes:
        """Return the digest of everything passed so far."""
        passed = self._hash.copy()
        passed.update(memoryview(self._buffer)[: self._at])
        return passed.digest()

    def _fill(self, count: int, what: str) -> None:
        have = len(self._buffer) - self._at
        if count <= have:
            return
        self.check(count, what)
        self._hash.update(memoryview(self._buffer)[: self._at])
        self._start += self._at
        self._buffer, self._at = self._buffer[self._at :], 0
        ahead = self._start + have
        wanted = min(max(self._next_bytes, count - have), self.size_bytes - ahead)
        self._next_bytes = min(2 * self._next_bytes, CHUNK_BYTES)
        piece = self._source.read(ahead, wanted)
        self._buffer = self._buffer + piece if self._buffer else piece
        if len(self._buffer) < count:  # shorter than it was when it was opened
            raise self.truncated(what, self._start + count)
