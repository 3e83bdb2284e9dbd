"""A container's output, copied into the same log files that the process executor's shim writes."""

from __future__ import annotations

import contextlib
import os
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motorpool_agent.runtime import logs
from motorpool_agent.runtime.docker.daemon import Daemon
from motorpool_agent.runtime.docker.errors import RefusedError, UnreachableError
from motorpool_agent.runtime.shim.rotation import Log

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

_JOIN_SECONDS = 5.0
_AGAIN_SECONDS = 1.0
_POSITION_BYTES = 80
_SECOND_CHARACTERS = 19


class Copy:
    """Copies one container's output, from where a former agent stopped, until it is told to finish.

    The Docker Engine keeps the output; each piece has a time, and which one was copied last is written down. So what
    was written while no agent ran is there too, and nothing is there twice.
    """

    def __init__(self, daemon: Daemon, container_id: str, directory: Path, run: int) -> None:
        self._daemon = daemon
        self._container_id = container_id
        file = logs.path(directory, run)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._log = Log(str(file), logs.LIMIT_BYTES, logs.FILES)
        self._position = Position(file.with_suffix(".position"))
        self._finishing = threading.Event()
        self._stream: Any = None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Copy in a thread of its own."""
        self._thread = threading.Thread(target=self._follow, name="docker logs", daemon=True)
        self._thread.start()

    def finish(self, *, drain: bool) -> None:
        """End the copying, after what there is was copied if it is to be drained. Blocks; call it in a thread."""
        self._finishing.set()
        with contextlib.suppress(Exception):  # a connection on its way up or down
            if self._stream is not None:
                self._stream.close()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)
            if self._thread.is_alive():
                return
        if drain:
            with contextlib.suppress(RefusedError, UnreachableError):
                self._daemon.ask(lambda client: self._copy(self._frames(client, follow=False)))
        self._log.close()
        self._position.close()

    def _follow(self) -> None:
        while not self._finishing.is_set():
            # The container ended, or the Docker Engine did: the executor finds out which, and ends this.
            with contextlib.suppress(RefusedError, UnreachableError):
                self._daemon.ask(self._follow_once)
            self._finishing.wait(_AGAIN_SECONDS)

    def _follow_once(self, client: docker.APIClient) -> None:
        self._stream = self._frames(client, follow=True)
        if not self._finishing.is_set():
            self._copy(self._stream)

    def _frames(self, client: docker.APIClient, *, follow: bool) -> Any:
        return client.logs(
            self._container_id,
            stream=True,
            follow=follow,
            timestamps=True,
            since=self._position.begin() or None,
        )

    def _copy(self, frames: Iterator[bytes]) -> None:
        for frame in frames:
            time, _, content = frame.partition(b" ")
            if self._position.advance(time.decode("ascii", "replace")):
                self._log.write(content, _mark(time))
                self._position.write()


class Position:
    """The time of the piece that was copied last, and how many pieces of that time were."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        time, _, count = (
            os.pread(self._descriptor, _POSITION_BYTES, 0).decode("ascii", "replace").strip().partition(" ")
        )
        self._copied = (time, int(count)) if count.isdigit() and _seconds(time) else ("", 0)
        self._seen = ("", 0)
        self._passed = False

    def begin(self) -> int:
        """Return the whole second to ask from, from which on all pieces come again; 0 for the beginning."""
        self._seen = ("", 0)
        self._passed = False
        return _seconds(self._copied[0])

    def advance(self, time: str) -> bool:
        """Take note of a piece; return whether it is new."""
        self._seen = (time, self._seen[1] + 1 if self._seen[0] == time else 1)
        # Beyond the place all is new, also what a clock that was set back gave an earlier time.
        if not self._passed and _key(self._seen) <= _key(self._copied):
            return False
        self._passed = True
        self._copied = self._seen
        return True

    def write(self) -> None:
        """Write the place down. Not fsynced: what it is for ends with the machine."""
        time, count = self._copied
        os.pwrite(self._descriptor, f"{time} {count}".ljust(_POSITION_BYTES).encode("ascii", "replace"), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _key(place: tuple[str, int]) -> tuple[str, str, int]:
    # RFC 3339 with nanoseconds and their trailing zeros, in UTC: whole seconds first, or a fraction sorts before none.
    time, count = place
    return time[:19], time[19:].strip(".Z").ljust(9, "0"), count


def _mark(time: bytes) -> bytes:
    """Return a piece's time as lines of a log begin with it; empty where it is none."""
    second, fraction = time[:19], time[19:].strip(b".Z")
    whole = len(second) == _SECOND_CHARACTERS and (fraction.isdigit() or not fraction)
    return b"%s.%sZ " % (second, fraction[:6].ljust(6, b"0")) if whole else b""


def _seconds(time: str) -> int:
    try:
        return int(datetime.fromisoformat(f"{time[:19]}+00:00").timestamp())
    except ValueError:
        return 0
