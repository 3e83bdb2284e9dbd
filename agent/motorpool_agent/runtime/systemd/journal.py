"""A unit's output, copied out of the journal into the same log files that other executors write."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

from motorpool_agent.runtime import logs
from motorpool_agent.runtime.shim.rotation import Log, stamp
from motorpool_agent.runtime.systemd.commands import environment

_JOIN_SECONDS = 5.0
_AGAIN_SECONDS = 1.0
_CALL_SECONDS = 30.0
_CURSOR_BYTES = 512


_NAMES = {
    "message": "MESSAGE",
    "cursor": "__CURSOR",
    "line_break": "_LINE_BREAK",
    "microseconds": "__REALTIME_TIMESTAMP",
}


class Entry(msgspec.Struct, rename=_NAMES):
    """An entry of the journal as ``journalctl --output=json`` writes it: numbers where it is no UTF-8."""

    cursor: str
    message: str | list[int] | None = None
    line_break: str = ""
    microseconds: str = ""

    @property
    def mark(self) -> bytes:
        """The time at which it was written as lines of a log begin with it, empty where it is not told."""
        return stamp(int(self.microseconds) / 1_000_000) if self.microseconds.isdecimal() else b""

    @property
    def content(self) -> bytes:
        """The bytes that were written, with their end of line where there was one."""
        text = self.message or ""
        content = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
        return content if self.line_break in {"line-max", "eof", "pid-change"} else content + b"\n"


class Copy:
    """Copies the output of one invocation of a unit, from where a former agent stopped, until it is told to finish.

    The journal keeps the output, and its cursors name a place in it for certain: what was written while no agent ran is
    there too, and nothing is there twice.
    """

    def __init__(self, invocation_id: str, directory: Path, run: int, *, user: bool) -> None:
        file = logs.path(directory, run)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._log = Log(str(file), logs.LIMIT_BYTES, logs.FILES)
        self._cursor = _Cursor(file.with_suffix(".cursor"))
        self._command = [
            "journalctl",
            *(["--user"] if user else []),
            *("--quiet", "--no-pager", "--all", "--output=json", "--output-fields=MESSAGE,_LINE_BREAK"),
            f"_SYSTEMD_INVOCATION_ID={invocation_id}",
        ]
        self._user = user
        self._finishing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._follow, name="journal", daemon=True)

    def begin(self) -> None:
        """Copy in a thread of its own."""
        self._thread.start()

    def finish(self, *, drain: bool) -> None:
        """End the copying, after what there is was copied if it is to be drained. Blocks; call it in a thread."""
        self._finishing.set()
        process = self._process
        if process is not None:
            process.kill()
        self._thread.join(_JOIN_SECONDS)
        if self._thread.is_alive():
            return
        if drain:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                self._drain()
        self._log.close()
        self._cursor.close()

    def _follow(self) -> None:
        while not self._finishing.is_set():
            # The journal's daemon ended, or its files were rotated away: what follows is found by the cursor.
            with contextlib.suppress(OSError):
                self._follow_once()
            self._finishing.wait(_AGAIN_SECONDS)

    def _follow_once(self) -> None:
        command = [*self._command, "--follow", "--no-tail", *self._cursor.after()]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
        ) as process:
            self._process = process
            if self._finishing.is_set():
                process.kill()
            if process.stdout is not None:
                self._copy(process.stdout)
            process.kill()

    def _drain(self) -> None:
        # What an engine wrote last may still be on its way from the socket to the journal's file.
        scope = ["--user"] if self._user else []
        _said("journalctl", *scope, "--sync")
        self._copy(_said(*self._command, *self._cursor.after()).splitlines())

    def _copy(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            try:
                entry = msgspec.json.decode(line, type=Entry)
            except msgspec.MsgspecError:
                continue  # cut off as the follower was ended: it comes again
            self._log.write(entry.content, entry.mark)
            self._cursor.write(entry.cursor)


def _said(*command: str) -> bytes:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_CALL_SECONDS, env=environment()
    )
    return done.stdout


class _Cursor:
    """The entry that was copied last. Not fsynced: what it is for ends with the machine."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._cursor = os.pread(self._descriptor, _CURSOR_BYTES, 0).decode("ascii", "replace").strip()

    def after(self) -> list[str]:
        """Return how to ask for what comes after it."""
        return [f"--after-cursor={self._cursor}"] if self._cursor else []

    def write(self, cursor: str) -> None:
        """Write the place down."""
        self._cursor = cursor
        os.pwrite(self._descriptor, cursor.ljust(_CURSOR_BYTES).encode("ascii", "replace"), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
