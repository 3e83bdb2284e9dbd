"""One file: what there is of it is gone on with, and nothing is called whole that was not verified and on the disk."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import os
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from motorpool_agent.files.http import FetchError, Hub, open_at, unreachable

PIECE_BYTES = 1 << 20
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Between tries that brought nothing; one that brought something begins them anew."""

_LOOK_SECONDS = 0.1
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass(slots=True, kw_only=True)
class Transfer:
    """A file to be had from ``url``, into ``path``. ``done_bytes`` and ``message`` are for whoever looks."""

    hub: Hub
    url: str
    title: str
    path: Path
    part: Path
    size_bytes: int
    sha256: str = ""
    git_sha1: str = ""
    pause: Callable[[float], None] = time.sleep
    done_bytes: int = 0
    message: str = ""
    opener: urllib.request.OpenerDirector = field(kw_only=True)

    def run(self) -> None:
        """Return once it is whole; raise FetchError or OSError. What has come stays for the next time."""
        try:
            descriptor = self._locked()
            if descriptor is None:
                self.done_bytes = self.size_bytes
                return
            try:
                self._fetch(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise FetchError(
                "DISK_FULL",
                f"{self.part.parent} took no more of {self.title}: {error.strerror}; make room (`motorpool files "
                "prune`), it goes on where it was",
            ) from error

    def _locked(self) -> int | None:
        """Return the part, locked by the kernel for as long as this process has it; None once another made it whole."""
        while True:
            if self._is_whole():
                return None
            descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                self.message = f"another download has {self.title}"
                self.pause(_LOOK_SECONDS)
                continue
            self.message = ""
            try:
                # The one that was waited for may have moved it to its place, or away, since it was opened.
                if os.fstat(descriptor).st_ino == self.part.stat().st_ino:
                    return descriptor
            except FileNotFoundError:
                pass
            os.close(descriptor)

    def _is_whole(self) -> bool:
        try:
            return self.path.stat().st_size == self.size_bytes
        except FileNotFoundError:
            return False

    def _fetch(self, descriptor: int) -> None:
        for again in (False, True):
            digest = self._read_all(descriptor)
            wanted = self.sha256 or self.git_sha1
            os.fsync(descriptor)
            if not wanted or digest.hexdigest() == wanted:
                os.fchmod(descriptor, 0o444)
                self.part.replace(self.path)
                return
            os.ftruncate(descriptor, 0)
            self.done_bytes = 0
            if again:
                break
            self.message = f"{self.title} came damaged (another digest than its hub tells), it is fetched once more"
        raise FetchError(
            "DIGEST_MISMATCH",
            f"{self.title} came twice with another digest than {self.hub.name} told the controller: what lies between "
            f"changes it (a proxy, or a mirror: {self.hub.endpoint_setting}), or the disk does",
        )

    def _read_all(self, descriptor: int) -> _Hash:
        """Return the digest of the whole file, after all of it is in the part."""
        digest = self._digest_of(descriptor)
        tries = 0
        while self.done_bytes < self.size_bytes:
            before = self.done_bytes
            try:
                digest = self._read_on(descriptor, digest)
            except FetchError as error:
                tries = 0 if self.done_bytes > before else tries + 1
                if not error.passing or tries > len(_PAUSES):
                    raise
                self.message = str(error)
                self.pause(error.wait_seconds or _PAUSES[max(tries, 1) - 1])
                self.message = ""
        return digest

    def _digest_of(self, descriptor: int) -> _Hash:
        """Return the digest of what is there already."""
        digest = self._new_digest()
        if os.fstat(descriptor).st_size > self.size_bytes:
            os.ftruncate(descriptor, 0)
        buffer = memoryview(bytearray(PIECE_BYTES))
        os.lseek(descriptor, 0, os.SEEK_SET)
        while count := os.readv(descriptor, [buffer]):
            digest.update(buffer[:count])
            self.done_bytes += count
        return digest

    def _read_on(self, descriptor: int, digest: _Hash) -> _Hash:
        body = open_at(self.opener, self.hub, self.url, self.done_bytes, self.size_bytes)
        with body.stream as stream:
            if body.start != self.done_bytes:
                # The hub knows no ranges: all of it again.
                os.ftruncate(descriptor, 0)
                self.done_bytes = 0
                digest = self._new_digest()
            os.lseek(descriptor, self.done_bytes, os.SEEK_SET)
            while self.done_bytes < self.size_bytes:
                try:
                    # What has arrived, and not until a buffer is full: a kill costs no more than that.
                    piece = memoryview(stream.read1(min(PIECE_BYTES, self.size_bytes - self.done_bytes)))
                except (OSError, http.client.HTTPException) as error:
                    raise unreachable(self.hub, self.url, error) from error
                if not piece:
                    raise unreachable(self.hub, self.url, ConnectionError("it ended too early"))
                written = 0
                while written < len(piece):
                    written += os.write(descriptor, piece[written:])
                digest.update(piece)
                self.done_bytes += len(piece)
        return digest

    def _new_digest(self) -> _Hash:
        if self.git_sha1 and not self.sha256:
            digest = hashlib.sha1(usedforsecurity=False)
            digest.update(f"blob {self.size_bytes}\0".encode())
            return digest
        return hashlib.sha256()
