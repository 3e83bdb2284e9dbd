"""What a machine may run short of: room on disks, memory, open files, processes. What cannot be asked is left out."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from motorpool_agent.inventory.pressure import Resource

_MIB = 1 << 20
_UNLIMITED = 1 << 60
_STALLED_PERCENT = 20
_EASED_PERCENT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Where the agent keeps its state and its downloads, and how much is too little there; 0 bytes: nothing is."""

    data_dir: Path
    cache_dir: Path
    disk_low_bytes: int = 1 << 30
    memory_low_bytes: int = 256 << 20


def measure(bounds: Bounds, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> tuple[Resource, ...]:
    """Return what is left of everything. It asks the kernel alone, and may wait for a disk: call it in a thread."""
    return (
        *_disks(bounds),
        _memory(bounds),
        *_stall(proc / "pressure" / "memory"),
        *_files(proc),
        *_processes(proc, groups),
    )


def _disks(bounds: Bounds) -> Iterator[Resource]:
    seen = set()
    for name, folder in (("data_disk", bounds.data_dir), ("cache_disk", bounds.cache_dir)):
        there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
        try:
            device, room = there.stat().st_dev, os.statvfs(there)
        except OSError:
            yield Resource(name=name, available=None, total=0, low=0, enough=0, shortage="")
            continue
        if device in seen:
            continue
        seen.add(device)
        total, left = room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize
        low = min(bounds.disk_low_bytes, total // 10)
        yield Resource(
            name=name,
            available=left,
            total=total,
            low=low,
            enough=low + low // 4,
            shortage=f"{_size(left)} of {_size(total)} are free on the disk of {folder}, and {_size(low)} are to be; "
            f"free some space there (`du -xsh {folder}/*` shows what takes it)",
        )


def _memory(bounds: Bounds) -> Resource:
    memory = psutil.virtual_memory()
    low = min(bounds.memory_low_bytes, memory.total // 20)
    return Resource(
        name="memory",
        available=memory.available,
        total=memory.total,
        low=low,
        enough=low + low // 4,
        shortage=f"{_size(memory.available)} of {_size(memory.total)} of host memory are available, and {_size(low)} "
        "are to be; end what is not needed there, or claim more with --memory so that less is placed",
    )


def _stall(file: Path) -> Iterator[Resource]:
    """Yield how much of the last minute the machine did not spend waiting for memory; nothing without PSI."""
    for line in _text(file).splitlines():
        kind, _, rest = line.partition(" ")
        figures = dict(part.partition("=")[::2] for part in rest.split())
        if kind == "full" and "avg60" in figures:
            stalled = round(float(figures["avg60"]))
            yield Resource(
                name="memory_stall",
                available=100 - stalled,
                total=100,
                low=100 - _STALLED_PERCENT,
                enough=100 - _EASED_PERCENT,
                shortage=f"all that runs there waited for memory during {stalled} % of the last minute; end what is "
                "not needed there, or give the node more memory",
            )


def _files(proc: Path) -> Iterator[Resource]:
    numbers = _text(proc / "sys" / "fs" / "file-nr").split()
    if len(numbers) == 3 and int(numbers[2]) < _UNLIMITED:  # allocated, free, most
        yield _count(
            "files", int(numbers[0]), int(numbers[2]), "files are open on the machine", "raise the sysctl fs.file-max"
        )
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        held = len(os.listdir(proc / "self" / "fd"))  # noqa: PTH208  # a folder of links to what may be gone
    except OSError:
        return
    if limit != resource.RLIM_INFINITY:
        yield _count("agent_files", held, limit, "files are open in the agent", "raise its LimitNOFILE and restart it")


def _processes(proc: Path, groups: Path) -> Iterator[Resource]:
    """Yield what comes first of all limits to the number of tasks: the kernel's, or one of a control group above us."""
    load = _text(proc / "loadavg").split()
    tasks = load[3].partition("/")[2] if len(load) > 3 else ""  # three averages come before
    most = [_number(proc / "sys" / "kernel" / name) for name in ("threads-max", "pid_max")]
    limits = [(int(tasks), min(each for each in most if each))] if tasks.isdecimal() and any(most) else []
    limits += _group_limits(proc, groups)
    if limits:
        held, limit = min(limits, key=lambda each: (each[1] - each[0]) / each[1])
        yield _count(
            "processes",
            held,
            limit,
            "processes and threads run where the agent does",
            "end what is not needed there, or raise kernel.pid_max, kernel.threads-max or the TasksMax of its unit",
        )


def _group_limits(proc: Path, groups: Path) -> Iterator[tuple[int, int]]:
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "pids" not in controllers.split(","):
            continue
        root = groups / "pids" if controllers else groups
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            held, limit = _number(group / "pids.current"), _number(group / "pids.max")
            if held is not None and limit:
                yield held, limit
            if group == root:
                break


def _count(name: str, held: int, limit: int, what: str, advice: str) -> Resource:
    return Resource(
        name=name,
        available=max(0, limit - held),
        total=limit,
        low=limit // 10,
        enough=limit // 5,
        shortage=f"{held} of {limit} {what}; {advice}",
    )


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdecimal() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _size(count: int) -> str:
    return f"{count / _MIB:,.0f} MiB"
