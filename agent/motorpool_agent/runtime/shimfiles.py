"""What the shim leaves in an instance's directory, and whether one lives there."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from motorpool_agent.reconcile.handle import Identity
from motorpool_agent.runtime.shim.specification import EXIT_NAME, PROCESS_NAME

LOCK_NAME = "lock"

_File = TypeVar("_File")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFile:
    """Who was executed, written before it was."""

    version: int
    run: int
    boot_id: str
    engine_pid: int
    engine_ticks: int
    shim_pid: int
    shim_ticks: int
    cgroup: str = ""

    @property
    def engine(self) -> Identity:
        """The engine's first process."""
        return Identity(pid=self.engine_pid, start_ticks=self.engine_ticks, boot_id=self.boot_id)

    @property
    def shim(self) -> Identity:
        """The shim, its parent."""
        return Identity(pid=self.shim_pid, start_ticks=self.shim_ticks, boot_id=self.boot_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitFile:
    """How it ended."""

    version: int
    run: int
    exit_code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    error: str = ""


class UnreadableError(Exception):
    """A file of the shim that is there and makes no sense."""


def read_process(directory: Path) -> ProcessFile | None:
    """Return the last run's process file, None if there is none."""
    return _read(directory / PROCESS_NAME, ProcessFile)


def read_exit(directory: Path, run: int) -> ExitFile | None:
    """Return how a run ended, None if that is not known."""
    try:
        found = _read(directory / EXIT_NAME, ExitFile)
    except UnreadableError:
        return None
    return found if found is not None and found.run == run else None


def take_lock(directory: Path) -> int | None:
    """Return a descriptor that holds the instance's lock, None if a shim holds it."""
    descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def lock_held(directory: Path) -> bool:
    """Whether a shim lives, or is being started, for this instance."""
    if not directory.is_dir():
        return False
    descriptor = take_lock(directory)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _read(path: Path, kind: type[_File]) -> _File | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{path} cannot be read: {error}") from error
