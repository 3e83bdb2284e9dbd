"""What the kernel says of processes: who is who, for certain."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from motorpool_agent.reconcile.handle import Identity

PROC = Path("/proc")
_DEAD = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of ``/proc/PID/stat``."""

    pid: int
    state: str
    parent_pid: int
    group: int
    session: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return self.state not in _DEAD


@functools.cache
def boot_id() -> str:
    """Return the id of this boot of the kernel."""
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def read(pid: int) -> Stat | None:
    """Return what the kernel says of a process, None if there is none of that number."""
    try:
        # os.open: /proc is read whole, and thousands of times.
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        content = os.read(descriptor, 4096)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    # The name may hold anything, brackets too; what follows the last one does not.
    fields = content.rpartition(b")")[2].split()
    return Stat(pid, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def identify(pid: int) -> Identity | None:
    """Return who a living process is."""
    stat = read(pid)
    if stat is None or not stat.alive:
        return None
    return Identity(pid=pid, start_ticks=stat.start_ticks, boot_id=boot_id())


def alive(identity: Identity | None) -> bool:
    """Whether exactly this process still runs."""
    if identity is None or identity.boot_id != boot_id():
        return False
    stat = read(identity.pid)
    return stat is not None and stat.alive and stat.start_ticks == identity.start_ticks


def age_seconds(identity: Identity) -> float:
    """Return how long ago a process of this boot started, whatever was done to the clock since."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - identity.start_ticks / os.sysconf("SC_CLK_TCK"))


def taken_by_another(identity: Identity) -> bool:
    """Whether the number now belongs to another process of the same boot."""
    stat = read(identity.pid)
    return identity.boot_id == boot_id() and stat is not None and stat.start_ticks != identity.start_ticks


def hidden(identity: Identity) -> bool:
    """Whether a process of this boot and number lives of which this user is told nothing: /proc with hidepid."""
    if identity.boot_id != boot_id() or identity.pid <= 0 or read(identity.pid) is not None:
        return False
    try:
        os.kill(identity.pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    # It may be signalled, and came between the two looks or is not to be seen.
    return read(identity.pid) is None


def all_processes() -> Iterator[Stat]:
    """Return every process there is."""
    with os.scandir(PROC) as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    for pid in pids:
        stat = read(pid)
        if stat is not None:
            yield stat


def environment_has(pid: int, variable: str, value: str) -> bool:
    """Whether a process was started with ``variable`` set to ``value``; False where we may not look."""
    try:
        content = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return os.fsencode(f"{variable}={value}") in content.split(b"\0")


def in_group(pid: int, name: str) -> bool:
    """Whether one of a process's control groups has ``name`` in its path."""
    try:
        return name in (PROC / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def private_bytes(pids: Iterable[int]) -> int | None:
    """Return the memory that processes hold beside the page cache, None if none of them could be read.

    Mapped model files are left out: the kernel counts them as available, and they would be counted twice.
    """
    total: int | None = None
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    for pid in pids:
        try:
            fields = (PROC / str(pid) / "statm").read_bytes().split()
        except OSError:
            continue
        total = (total or 0) + (int(fields[1]) - int(fields[2])) * page_bytes
    return total
