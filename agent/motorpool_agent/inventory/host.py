"""The machine itself: what it is, and how much of it is in use."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What the machine is. ``boot_id`` changes with every boot; ``machine_id`` is empty where there is none."""

    hostname: str
    os: str
    architecture: str
    kernel: str
    cpu_count: int
    memory_bytes: int
    boot_id: str
    machine_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUsage:
    """One measurement; ``cpu_ratio`` (0 to 1) is since the measurement before, None for the first."""

    memory_used_bytes: int
    memory_available_bytes: int
    cpu_ratio: float | None


def facts() -> HostFacts:
    """Return what this machine is."""
    machine = platform.machine()
    return HostFacts(
        hostname=socket.gethostname(),
        os=platform.system().lower(),
        architecture=_ARCHITECTURES.get(machine, machine),
        kernel=platform.release(),
        cpu_count=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        boot_id=_text(_BOOT_ID),
        machine_id=next(filter(None, map(_text, _MACHINE_IDS)), ""),
    )


def lineage(pid: int) -> tuple[int, ...]:
    """Return a process and its ancestors, nearest first; itself alone when it is gone."""
    try:
        return (pid, *(parent.pid for parent in psutil.Process(pid).parents()))
    except (psutil.Error, ValueError):
        return (pid,)


class Meter:
    """Measures the machine; keeps the last reading of the processors' clocks, which only count up."""

    def __init__(self) -> None:
        self._busy_seconds: float | None = None
        self._all_seconds = 0.0

    def measure(self) -> HostUsage:
        """Return how much of the machine is in use now."""
        memory = psutil.virtual_memory()
        return HostUsage(
            # What is neither available nor free is caches that give way: no use of anyone's.
            memory_used_bytes=memory.total - memory.available,
            memory_available_bytes=memory.available,
            cpu_ratio=self._cpu_ratio(),
        )

    def _cpu_ratio(self) -> float | None:
        times = psutil.cpu_times()
        # Guests' time is counted in user and nice already.
        idle_seconds = times.idle + getattr(times, "iowait", 0.0)
        all_seconds = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        busy_seconds = all_seconds - idle_seconds
        before_busy, before_all = self._busy_seconds, self._all_seconds
        self._busy_seconds, self._all_seconds = busy_seconds, all_seconds
        if before_busy is None or all_seconds <= before_all:
            return None
        return min(1.0, max(0.0, (busy_seconds - before_busy) / (all_seconds - before_all)))


measure = Meter().measure


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
