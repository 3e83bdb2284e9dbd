"""Reading the beginning of a file once, front to back."""

import hashlib
import os
from struct import Struct
from typing import BinaryIO

from motorpool_formats.errors import ModelCorruptError, ModelIncompleteError

CHUNK_BYTES = 1 << 20

_LENGTH = Struct("<Q")


class Window:
    """A moving view of a file's header: large reads, a digest of what passed, no step beyond file or limit.

    Not an mmap: a file that shrinks under a mapping ends the process with SIGBUS.
    """

    def __init__(self, file: BinaryIO, name: str, limit_bytes: int) -> None:
        self.name = name
        self.size_bytes = file.seek(0, os.SEEK_END)
        self._file = file
        self._limit_bytes = limit_bytes
        self._hash = hashlib.sha256()
        self._start = 0
        self._buffer = b""
        self._at = 0
        file.seek(0)

    @property
    def position(self) -> int:
        """Where in the file the next byte comes from."""
        return self._start + self._at

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
        """Pass over the next bytes, holding no more than a chunk of them."""
        self.check(count, what)
        while count:
            step = min(count, CHUNK_BYTES)
            self._fill(step, what)
            self._at += step
            count -= step

    def skip_strings(self, count: int, what: str) -> None:
        """Pass over strings, each a 64-bit length and so many bytes, looking at the lengths alone."""
        self.check(count * _LENGTH.size, what)
        length_at = _LENGTH.unpack_from
        buffer, at = self._buffer, self._at
        last = len(buffer) - _LENGTH.size
        for _ in range(count):
            if at > last:
                self._at = min(at, len(buffer))
                self.skip(at - self._at, what)
                self._fill(_LENGTH.size, what)
                buffer, at = self._buffer, self._at
                last = len(buffer) - _LENGTH.size
            at += _LENGTH.size + length_at(buffer, at)[0]
        self._at = min(at, len(buffer))
        self.skip(at - self._at, what)

    def check(self, count: int, what: str) -> None:
        """Raise unless so many bytes follow: in a header of a sane size, and in this file."""
        end = self.position + count
        if end > self._limit_bytes:
            raise ModelCorruptError(
                self.name,
                f"{what} would end at byte {end}, and no header is longer than {self._limit_bytes} bytes",
                "download or convert the model again",
                offset=self.position,
            )
        if end > self.size_bytes:
            raise self.truncated(what, end)

    def truncated(self, what: str, end: int) -> ModelIncompleteError:
        """Return the error for something that goes on after the file's end."""
        return ModelIncompleteError(
            self.name,
            f"the file is truncated: {what} ends at byte {end}, the file has {self.size_bytes}",
            "finish the download or repeat it",
            offset=self.position,
        )

    def sha256(self) -> bytes:
        """Return the digest of everything passed so far."""
        passed = self._hash.copy()
        passed.update(memoryview(self._buffer)[: self._at])
        return passed.digest()

    def _fill(self, count: int, what: str) -> None:
        if self._at + count <= len(self._buffer):
            return
        self.check(count, what)
        self._hash.update(memoryview(self._buffer)[: self._at])
        pieces = [self._buffer[self._at :]]
        have = len(pieces[0])
        while have < count:
            piece = self._file.read(max(CHUNK_BYTES, count - have))
            if not piece:  # shorter than it was when it was opened
                raise self.truncated(what, self.position + count)
            pieces.append(piece)
            have += len(piece)
        self._start += self._at
        self._at = 0
        self._buffer = b"".join(pieces)
