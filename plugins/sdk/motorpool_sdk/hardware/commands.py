"""A vendor's command and what it prints, in English, within bounds of time and size, and not more often than needed."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from motorpool_sdk.hardware.sources import Unavailable

_MOST_BYTES = 4 * 2**20
_MOST_SHOWN = 200
_KILLED_SECONDS = 0.5
# Devices, health and measurements of one round come from one output; a slow command is asked the less often.
_FRESH_SECONDS = 1.0
_FRESH_FACTOR = 20.0


class Command:
    """A program by one of its ``names``, on PATH or in ``folders``; what it printed is kept for a short while."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        remedy: str,
        folders: Iterable[str] = (),
        timeout_seconds: float = 4.0,
        fresh_seconds: float = _FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names = tuple(names)
        self._folders = tuple(folders)
        self._remedy = remedy
        self._timeout_seconds = timeout_seconds
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._kept: dict[tuple[str, ...], tuple[float, str]] = {}

    @property
    def name(self) -> str:
        """The program's name."""
        return self._names[0]

    @property
    def path(self) -> str:
        """Where it stands; empty where it is not installed."""
        folders = os.pathsep.join([os.environ.get("PATH", os.defpath), *self._folders])
        return next((found for name in self._names if (found := shutil.which(name, path=folders))), "")

    def output(self, *arguments: str) -> str:
        """Return what it prints, also when it fails afterwards; raises Unavailable where it prints nothing."""
        until, kept = self._kept.get(arguments, (float("-inf"), ""))
        start = self._clock()
        if start < until:
            return kept
        printed = self._run(arguments)
        end = self._clock()
        self._kept[arguments] = (end + max(self._fresh_seconds, _FRESH_FACTOR * (end - start)), printed)
        return printed

    def _run(self, arguments: tuple[str, ...]) -> str:
        path = self.path
        shown = " ".join([self.name, *arguments])
        if not path:
            raise Unavailable(f"{self.name} is neither on PATH nor in {', '.join(self._folders) or 'any other folder'}")
        try:
            process = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Numbers and words as its parser knows them.
                env={**os.environ, "LC_ALL": "C", "LANG": "C"},
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"{path} cannot be run: {error.strerror}. {self._remedy}") from error
        out, complaint = self._read(process)
        if complaint:
            raise Unavailable(f"`{shown}` {complaint}. {self._remedy}")
        printed, errors = (each.decode(errors="replace") for each in out)
        if process.returncode and not printed.strip():
            last = errors.strip()[-_MOST_SHOWN:] or "nothing"
            raise Unavailable(f"`{shown}` ended with {process.returncode}, saying {last!r}. {self._remedy}")
        return printed

    def _read(self, process: subprocess.Popen[bytes]) -> tuple[tuple[bytes, bytes], str]:
        """Return what came on both of its outputs, and what is wrong with how it ended."""
        deadline = time.monotonic() + self._timeout_seconds
        pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
        read = {pipe.fileno(): bytearray() for pipe in pipes}
        complaint = ""
        with selectors.DefaultSelector() as selector:
            for pipe in pipes:
                selector.register(pipe.fileno(), selectors.EVENT_READ)
            while selector.get_map() and not complaint:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    complaint = f"did not end within {self._timeout_seconds:g} s"
                for key, _ in ready:
                    piece = os.read(key.fd, 65536)
                    read[key.fd] += piece
                    if not piece:
                        selector.unregister(key.fd)
                if sum(len(each) for each in read.values()) > _MOST_BYTES:
                    complaint = f"printed more than {_MOST_BYTES} bytes"
        if not complaint:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                complaint = f"did not end within {self._timeout_seconds:g} s"
        if complaint:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # One that waits for its driver in the kernel does not even end by that.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_KILLED_SECONDS)
        for pipe in pipes:
            pipe.close()
        out, errors = (bytes(each) for each in read.values())
        return (out, errors), complaint


def first_line(path: Path) -> str:
    """Return the first line of a small file, empty where it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline(4096).strip()
    except OSError:
        return ""
