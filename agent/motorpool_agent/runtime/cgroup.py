"""A control group for each instance where the host allows it: what is in it is ours, however it forked."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_OWN = Path("/proc/self/cgroup")
_ANYWHERE = Path("/proc/vmstat")


class Cgroups:
    """Makes control groups below the agent's own; does nothing where they cannot be written."""

    def __init__(self, data_dir: Path) -> None:
        # Two agents on one host may know the same assignment ids.
        self._prefix = f"motorpool-{hashlib.sha256(os.fsencode(data_dir.absolute())).hexdigest()[:8]}"
        mounts, own = _hierarchies(), _own_groups()
        self._base = _writable(mounts, own)
        self._memory = _memory_counter(mounts, own)

    def create(self, assignment_id: str) -> str:
        """Make an assignment's group and return its path; empty where the host does not allow it."""
        path = self.path(assignment_id)
        try:
            if path:
                Path(path).mkdir(exist_ok=True)
        except OSError:
            return ""
        return path

    def path(self, assignment_id: str) -> str:
        """Return where an assignment's group is, or would be."""
        return "" if self._base is None else str(self._base / f"{self._prefix}-{assignment_id}")

    def sweep(self, kept: frozenset[str]) -> None:
        """Remove empty groups of assignments that are not among ``kept``: of launches that died before their handle."""
        if self._base is None:
            return
        prefix = f"{self._prefix}-"
        for group in list(self._base.glob(f"{prefix}*")):
            if group.name.removeprefix(prefix) not in kept:
                remove(str(group))

    def oom_counter(self, cgroup: str) -> str:
        """Return the file whose ``oom_kill`` line counts kills for memory, the narrowest there is."""
        own = Path(cgroup) / "memory.events" if cgroup else None
        return str(own if own is not None and own.exists() else self._memory)


def hierarchy_of_systemd() -> Path | None:
    """Return where the groups are that systemd makes for its units: their paths there are as it tells them."""
    mounts = _hierarchies()
    # Where both are mounted, systemd keeps its units by the named one.
    return mounts.get("name=systemd", mounts.get(""))


def memory_hierarchy() -> Path | None:
    """Return where memory is held to limits by the first version of control groups; None where by the second."""
    return _hierarchies().get("memory")


def members(cgroup: str) -> list[int]:
    """Return the processes in a group; none where there is no group."""
    if not cgroup:
        return []
    try:
        return [int(line) for line in (Path(cgroup) / "cgroup.procs").read_text(encoding="ascii").split()]
    except OSError:
        return []


def remove(cgroup: str) -> None:
    """Remove an empty group; leave it if it is not."""
    if cgroup:
        try:
            Path(cgroup).rmdir()
        except OSError:
            return


def _hierarchies() -> dict[str, Path]:
    """Return mount points by controller; "" is the unified hierarchy."""
    found: dict[str, Path] = {}
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        left, _, right = line.partition(" - ")
        mount, kind = left.split()[4], right.split()
        if kind[0] == "cgroup2":
            found.setdefault("", Path(mount))
        elif kind[0] == "cgroup":
            for option in kind[2].split(","):
                found.setdefault(option, Path(mount))
    return found


def _own_groups() -> dict[str, str]:
    """Return this process's group by controller."""
    found: dict[str, str] = {}
    try:
        lines = _OWN.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path.lstrip("/")
    return found


def _writable(mounts: dict[str, Path], own: dict[str, str]) -> Path | None:
    for controller in ("", "pids"):
        if controller not in mounts or controller not in own:
            continue
        base = mounts[controller] / own[controller]
        # Writing the group's list of processes is what moving one out of it takes.
        if os.access(base, os.W_OK) and os.access(base / "cgroup.procs", os.W_OK):
            return base
    return None


def _memory_counter(mounts: dict[str, Path], own: dict[str, str]) -> Path:
    candidates = []
    if "memory" in mounts and "memory" in own:
        candidates.append(mounts["memory"] / own["memory"] / "memory.oom_control")
        candidates.append(mounts["memory"] / "memory.oom_control")
    if "" in mounts and "" in own:
        candidates.append(mounts[""] / own[""] / "memory.events")
    return next((path for path in candidates if path.exists()), _ANYWHERE)
