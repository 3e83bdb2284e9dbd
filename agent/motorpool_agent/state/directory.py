"""The data directory belongs to one agent at a time; the kernel holds the lock, so that no crash leaves it behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from motorpool_agent.state.errors import DataDirectoryError

LOCK_NAME = "agent.lock"
# A killed agent's child holds the lock until its exec, which takes moments, or seconds on a busy machine.
_ORPHAN_SECONDS = 5.0
_RETRY_SECONDS = 0.02


class DataDirectoryLock:
    """The right to use a data directory, held until ``release`` or the end of the process."""

    def __init__(self, data_dir: Path) -> None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirectoryError(
                f"data directory {data_dir} cannot be used: {error.strerror}; "
                "give a directory that this user may write with --data-dir"
            ) from error
        try:
            _lock(descriptor)
        except OSError as error:
            holder = _holder(descriptor) or "unknown"
            os.close(descriptor)
            raise DataDirectoryError(
                f"data directory {data_dir} is in use by another agent (pid {holder}); "
                "stop that one, or give this one a directory of its own with --data-dir"
            ) from error
        # For people only, so a full disk must not keep the agent from what it runs.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the directory back; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder(data_dir: Path) -> int | None:
    """Return the pid of the agent that uses a data directory; None where none does, or this user may not know."""
    try:
        with (data_dir / LOCK_NAME).open("rb") as file:
            inode, pid = os.fstat(file.fileno()).st_ino, _holder(file.fileno())
        # Trying the lock itself could keep an agent from starting that moment.
        locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    held = any(" FLOCK " in line and line.split()[5].rpartition(":")[2] == str(inode) for line in locks)
    return int(pid) if held and pid.isdecimal() else None


def _lock(descriptor: int) -> None:
    """Take the lock; OSError where another agent that lives has it."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if _lives(_holder(descriptor)) or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def _holder(descriptor: int) -> str:
    """Return the pid that the last holder noted; empty if it noted none."""
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip()


def _lives(pid: str) -> bool:
    if not pid.isdecimal():
        return True
    try:
        state = Path("/proc", pid, "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in {"Z", "X"}
