"""All processes of one instance, and how they are ended. A number alone is never signalled."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import defaultdict
from dataclasses import dataclass

from motorpool_agent import failpoints
from motorpool_agent.reconcile.handle import Identity
from motorpool_agent.runtime import cgroup as cgroups
from motorpool_agent.runtime import procfs
from motorpool_agent.runtime.errors import StopError

MARKER = "MOTORPOOL_INSTANCE_DIR"
_LOOK_SECONDS = 0.05
_KILL_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How an instance's processes are told from all others.

    They are in its control group, or descend from its engine or its shim (which the kernel gives its orphans), or are
    of the engine's session and carry the instance's directory in their environment.
    """

    directory: str
    engine: Identity | None = None
    shim: Identity | None = None
    cgroup: str = ""

    def members(self, *, everywhere: bool = False) -> list[procfs.Stat]:
        """Return its living processes without the shim; ``everywhere`` looks into every environment."""
        processes = {stat.pid: stat for stat in procfs.all_processes()}
        children: dict[int, list[int]] = defaultdict(list)
        for stat in processes.values():
            children[stat.parent_pid].append(stat.pid)
        shim = self.shim.pid if self.shim is not None and procfs.alive(self.shim) else None
        ours = set(cgroups.members(self.cgroup))
        roots = [] if shim is None else children[shim]
        if self.engine is not None and self._is(processes.get(self.engine.pid), self.engine):
            roots = [*roots, self.engine.pid]
        while roots:
            pid = roots.pop()
            if pid not in ours or pid in processes:
                ours.add(pid)
                roots += [child for child in children[pid] if child not in ours]
        for stat in processes.values():
            related = everywhere or (self.engine is not None and stat.session == self.engine.pid)
            if related and stat.pid not in ours and procfs.environment_has(stat.pid, MARKER, self.directory):
                ours.add(stat.pid)
        ours.discard(os.getpid())
        return [processes[pid] for pid in sorted(ours) if pid in processes and pid != shim and processes[pid].alive]

    async def stop(self, grace_seconds: float) -> None:
        """End every process: TERM, the grace, KILL, and proof that none is left; raise ``StopError`` if one is."""
        loop = asyncio.get_running_loop()
        first = self.members()
        leader = None if self.engine is None else self.engine.pid
        for stat in first:
            # The engine's group is told; helpers in groups of their own are the engine's to end, within the grace.
            if leader is None or stat.group == leader:
                _signal(stat, signal.SIGTERM)
        failpoints.reach("group.termed")
        deadline = loop.time() + (grace_seconds if first else 0.0)
        while self.members() and loop.time() < deadline:  # noqa: ASYNC110  # the kernel tells of children only
            await asyncio.sleep(_LOOK_SECONDS)
        deadline = loop.time() + _KILL_SECONDS
        while left := self.members(everywhere=True):
            if loop.time() > deadline:
                pids = ", ".join(str(stat.pid) for stat in left)
                raise StopError(
                    "STOP_FAILED",
                    f"processes {pids} of {self.directory} do not end on SIGKILL, most likely in a driver call; "
                    "look at `dmesg`, and reset the device or restart the machine",
                )
            self._kill(left)
            failpoints.reach("group.killed")
            await asyncio.sleep(_LOOK_SECONDS)

    def _kill(self, members: list[procfs.Stat]) -> None:
        if self.cgroup:
            try:
                # All at once, so that none forks away.
                descriptor = os.open(f"{self.cgroup}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
            except OSError:
                pass
            else:
                try:
                    os.write(descriptor, b"1")
                finally:
                    os.close(descriptor)
        for stat in members:
            _signal(stat, signal.SIGKILL)

    @staticmethod
    def _is(stat: procfs.Stat | None, identity: Identity) -> bool:
        return stat is not None and identity.boot_id == procfs.boot_id() and stat.start_ticks == identity.start_ticks


def _signal(stat: procfs.Stat, number: signal.Signals) -> None:
    """Signal exactly this process: the descriptor pins it, the start ticks say that it is the one meant."""
    try:
        descriptor = os.pidfd_open(stat.pid)
    except OSError:
        return
    try:
        now = procfs.read(stat.pid)
        if now is not None and now.start_ticks == stat.start_ticks:
            signal.pidfd_send_signal(descriptor, number)
    except OSError:
        return
    finally:
        os.close(descriptor)


def kill(identity: Identity) -> None:
    """Kill one process if it is still that one."""
    stat = procfs.read(identity.pid)
    if stat is not None and procfs.alive(identity):
        _signal(stat, signal.SIGKILL)


async def gone(identity: Identity | None) -> None:
    """Wait until exactly this process has ended."""
    if identity is None:
        return
    try:
        descriptor = os.pidfd_open(identity.pid)
    except OSError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        if procfs.alive(identity):
            loop.add_reader(descriptor, ended.set)
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
