"""Whose a process is that no instance owns: what an operator needs to find it."""

from __future__ import annotations

import contextlib
import pwd
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """A process by its program, user and control group; each is empty where the kernel does not tell."""

    pid: int
    program: str = ""
    user: str = ""
    control_group: str = ""

    @property
    def words(self) -> str:
        """Return it for people."""
        known = [self.program, f"user {self.user}" if self.user else "", self.control_group]
        told = ", ".join(each for each in known if each)
        return f"process {self.pid} ({told or 'not seen from here'})"


def stranger(pid: int, proc: Path = _PROC) -> Stranger:
    """Return whose a process is, as far as the kernel tells."""
    folder = proc / str(pid)
    try:
        program = (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()
        number = folder.stat().st_uid
        groups = (folder / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return Stranger(pid=pid)
    user = str(number)
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(number).pw_name
    # With version 1 there are several; the one that says most is the service's or the container's.
    paths = [line.partition(":")[2].partition(":")[2] for line in groups]
    return Stranger(pid=pid, program=program, user=user, control_group=max(paths, key=len, default=""))
