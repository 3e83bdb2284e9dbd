"""The executor ``systemd``: an engine as a transient unit, with a control group and a journal of its own.

The service manager is its parent: it outlives the agent by itself, and tells how the engine ended to whoever asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from motorpool_agent import failpoints
from motorpool_agent.reconcile.handle import Handle, Identity, LaunchRecord, Phase
from motorpool_agent.reconcile.observation import ExecutorStatus
from motorpool_agent.runtime import cgroup as cgroups
from motorpool_agent.runtime import logs, procfs
from motorpool_agent.runtime.errors import LaunchError, StopError
from motorpool_agent.runtime.executor import Evidence, Exit, Progress, Running, Verdict
from motorpool_agent.runtime.family import Family, gone
from motorpool_agent.runtime.shim.report import oom_kills
from motorpool_agent.runtime.systemd.errors import UnreachableError
from motorpool_agent.runtime.systemd.journal import Copy
from motorpool_agent.runtime.systemd.launched import LaunchedUnits
from motorpool_agent.runtime.systemd.units import SET_UP, Found, Units

log = logging.getLogger(__name__)

NAME = "systemd"
BOOTED = Path("/run/systemd/system")
_MARK = "systemd"
_LOOK_SECONDS = 0.05
_ASK_AGAIN_SECONDS = 1.0
_START_SECONDS = 30.0


class SystemdExecutor:
    """Starts engines as units, finds them again, waits for their end, stops them whole."""

    def __init__(self, data_dir: Path, launcher: Path | None = None) -> None:
        # Who may not start units of the machine asks the launcher, or has a manager of their own, if they have any.
        root = os.geteuid() == 0
        self._units = Units(data_dir, user=not root) if launcher is None else LaunchedUnits(data_dir, launcher)
        self._hierarchy = cgroups.hierarchy_of_systemd()
        self._copies: dict[str, Copy] = {}
        self._strangers: set[str] = set()

    async def status(self) -> ExecutorStatus:
        """Return which systemd answers, or why none does."""
        if not _booted():
            return ExecutorStatus(executor=NAME, works=False, message="systemd is not the service manager here")
        if shutil.which("journalctl") is None or shutil.which("systemd-run") is None:
            return ExecutorStatus(
                executor=NAME, works=False, message="systemd-run or journalctl is missing; install the whole of systemd"
            )
        try:
            version = await self._units.version()
        except UnreachableError as error:
            return ExecutorStatus(executor=NAME, works=False, message=error.message)
        return ExecutorStatus(executor=NAME, works=True, message=f"systemd {version}{self._units.whose}")

    async def fetch(self, record: LaunchRecord, progress: Progress) -> None:
        """Get nothing: what a unit executes is on the machine, or its engine's environment was made before."""

    async def start(self, directory: Path, run: int, record: LaunchRecord, before_exec: Callable[[], None]) -> Running:
        """Start a unit; killed anywhere in between, what is there is found by its name."""
        program = _present(record)
        logs.prepare(directory, run, Path(record.working_directory))
        name = self._units.name(directory.name, run)
        try:
            # What an earlier start did not come to the end of: there is never a second one.
            await self._clear(directory, 0.0)
            with contextlib.suppress(OSError):  # a launcher's, who sees to it
                self._units.oom_file(name, directory).unlink(missing_ok=True)
            (directory / _MARK).touch()
            failpoints.reach("unit.marked")
            try:
                # The handle first: what stands in a directory without one is not swept.
                await asyncio.to_thread(before_exec)
                said = await self._units.start(name, replace(record, argv=(program, *record.argv[1:])), directory)
            except OSError as error:
                raise LaunchError(
                    "STATE_UNWRITABLE",
                    f"{directory} cannot be written: {error}; nothing was executed; free space there, or "
                    "give the agent's user permission to write",
                ) from error
            failpoints.reach("unit.started")
            found = await self._units.find(name)
        except UnreachableError as error:
            raise LaunchError(error.reason, error.message) from error
        if found is None or (said.status and found.status in SET_UP and not found.running):
            why = said.errors if found is None else f"status {found.status}, see systemd.exec(5)"
            raise LaunchError(
                "EXEC_FAILED",
                f"systemd could not execute {record.argv[0]}: {why}; `journalctl --unit={name}` on the node says more",
            )
        self._copy(found, directory, run)
        return self._runs(directory, run, found)

    async def inspect(self, directory: Path, handle: Handle) -> Evidence:
        """Compare a handle with the units that bear its assignment's name."""
        if handle.boot_id != procfs.boot_id():
            return Evidence(verdict=Verdict.NOTHING if handle.phase is Phase.PREPARED else Verdict.GONE)
        name = self._units.name(directory.name, handle.run)
        # Asked first: one that ends in between has made its unit by then.
        starting = _being_started(name)
        try:
            units = await self._units.of(directory.name)
        except UnreachableError as error:
            return Evidence(verdict=Verdict.UNKNOWN, message=error.message)
        others = [found.name for found in units if found.name != name and found.running]
        if others:
            return Evidence(verdict=Verdict.UNCERTAIN, message=f"{' and '.join(others)} runs too, of another launch")
        found = next((each for each in units if each.name == name), None)
        if found is None:
            if starting:
                return Evidence(verdict=Verdict.STARTING)
            return Evidence(verdict=Verdict.NOTHING if handle.phase is Phase.PREPARED else Verdict.GONE)
        if handle.invocation_id not in {"", found.invocation_id}:
            return Evidence(
                verdict=Verdict.UNCERTAIN,
                message=f"{name} is of invocation {found.invocation_id}, the handle names {handle.invocation_id}",
            )
        if found.active == "activating":
            return Evidence(verdict=Verdict.STARTING)
        self._copy(found, directory, handle.run)
        if found.running:
            return Evidence(verdict=Verdict.RUNNING, running=self._runs(directory, handle.run, found))
        if not found.executed:
            return Evidence(verdict=Verdict.NOTHING)
        return Evidence(verdict=Verdict.EXITED, exit=self._exit(found, directory))

    async def ended(self, running: Running) -> Exit:
        """Wait for the unit's end. One whose systemd does not answer goes on."""
        name = self._units.name(running.directory.name, running.run)
        silent = False
        while True:
            await gone(running.engine)
            try:
                found = await self._units.find(name)
            except UnreachableError as error:
                if not silent:
                    log.warning("a unit's end cannot be told: %s", error, extra={"unit": name})
                silent = True
                await asyncio.sleep(_ASK_AGAIN_SECONDS)
                continue
            if found is None or found.invocation_id != running.invocation_id:
                return Exit()
            if not found.running:
                return self._exit(found, running.directory)
            silent = False
            # Its process ended, and systemd has not noticed yet, or ends what is left of it.
            running.engine = procfs.identify(found.pid) if found.pid else None
            await asyncio.sleep(_LOOK_SECONDS)

    async def stop(self, directory: Path, grace_seconds: float) -> None:
        """Stop every unit of the assignment and have systemd forget it, after its output was copied."""
        if not self.holds(directory):
            return
        await _settled(self._units.name(directory.name, 0).removesuffix("0.service"))
        try:
            await self._clear(directory, grace_seconds)
        except UnreachableError as error:
            raise StopError(error.reason, error.message) from error
        # What got away from its control group bears the instance's mark.
        await Family(directory=str(directory)).stop(0.0)
        (directory / _MARK).unlink(missing_ok=True)
        self._strangers.discard(directory.name)

    def holds(self, directory: Path) -> bool:
        """Whether a unit was made here, or one was found."""
        return directory.name in self._strangers or (directory / _MARK).exists()

    def memory_bytes(self, running: Running) -> int | None:
        """Return what the unit's processes hold beside the page cache."""
        pids = cgroups.members(running.cgroup)
        if not pids and running.engine is not None:
            family = Family(directory=str(running.directory), engine=running.engine)
            pids = [stat.pid for stat in family.members()]
        return procfs.private_bytes(pids)

    def sweep(self, kept: frozenset[str]) -> None:
        """Remove nothing: a unit that came to nothing is removed by the next launch, or reported."""

    async def strangers(self, known: Collection[str]) -> Mapping[str, str]:
        """Return this agent's units that have no handle; what has ended of them is forgotten."""
        if not _booted():
            return {}
        found: dict[str, str] = {}
        try:
            for unit in await self._units.all():
                assignment_id = self._units.assignment_of(unit.name)
                if not assignment_id or assignment_id in known:
                    continue
                if unit.running:
                    found[assignment_id] = f"unit {unit.name} is one of this agent's, and there is no handle of it"
                else:
                    await self._units.stop(unit.name)
                    await self._units.forget(unit.name)
        except UnreachableError as error:
            log.warning("units were not looked for: %s", error)
        self._strangers |= found.keys()
        return found

    async def close(self) -> None:
        """End the copying; units go on, and the journal keeps what they write."""
        await asyncio.gather(*(self._finish(invocation_id, drain=False) for invocation_id in list(self._copies)))

    async def _clear(self, directory: Path, grace_seconds: float) -> None:
        """TERM, grace, KILL for all of an assignment's units, and proof that none is left."""
        for found in await self._units.of(directory.name):
            if found.running:
                await self._end(found, grace_seconds)
            # Ends what a first process left behind, too.
            said = await self._units.stop(found.name)
            failpoints.reach("unit.stopped")
            await self._finish(found.invocation_id, drain=True)
            await self._units.forget(found.name)
            left = await self._units.find(found.name)
            if left is not None and (left.running or self._members(left)):
                pids = ", ".join(map(str, self._members(left))) or "none that is seen"
                raise StopError(
                    "STOP_FAILED",
                    f"{found.name} does not end on SIGKILL (processes {pids}; {said.errors or 'nothing is said'}), "
                    "most likely in a driver call; look at `dmesg`, and reset the device or restart the machine",
                )

    async def _end(self, found: Found, grace_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if grace_seconds > 0:
            await self._units.signal(found.name, signal.SIGTERM, whole=False)
            failpoints.reach("unit.termed")
        deadline = loop.time() + grace_seconds
        engine = procfs.identify(found.pid) if found.pid else None
        while loop.time() < deadline and (procfs.alive(engine) or self._members(found)):  # noqa: ASYNC110  # another's
            await asyncio.sleep(_LOOK_SECONDS)
        if procfs.alive(engine) or self._members(found) or engine is None:
            await self._units.signal(found.name, signal.SIGKILL, whole=True)
            failpoints.reach("unit.killed")

    def _members(self, found: Found) -> list[int]:
        return cgroups.members(self._group(found))

    def _group(self, found: Found) -> str:
        if self._hierarchy is None or not found.control_group:
            return ""
        return str(self._hierarchy / found.control_group.lstrip("/"))

    def _exit(self, found: Found, directory: Path) -> Exit:
        seen = found.exit
        counted = self._units.oom_file(found.name, directory)
        if seen.signal == signal.SIGKILL and oom_kills(str(counted)) > 0:
            return Exit(signal=seen.signal, out_of_memory=True)
        return seen

    def _runs(self, directory: Path, run: int, found: Found) -> Running:
        return Running(
            executor=NAME,
            directory=directory,
            run=run,
            engine=_identity(found),
            cgroup=self._group(found),
            invocation_id=found.invocation_id,
        )

    def _copy(self, found: Found, directory: Path, run: int) -> None:
        if found.invocation_id and found.invocation_id not in self._copies:
            user = self._units.user
            self._copies[found.invocation_id] = copy = Copy(found.invocation_id, directory, run, user=user)
            copy.begin()

    async def _finish(self, invocation_id: str, *, drain: bool) -> None:
        copy = self._copies.pop(invocation_id, None)
        if copy is not None:
            await asyncio.to_thread(copy.finish, drain=drain)


def _booted() -> bool:
    return BOOTED.is_dir()


def _present(record: LaunchRecord) -> str:
    """Return the path of a launch's program; raise ``LaunchError`` if that, or a device's node, is not here."""
    program = shutil.which(record.argv[0], path=record.environment.get("PATH", os.defpath))
    if program is None:
        raise LaunchError("EXEC_FAILED", f"{record.argv[0]} could not be executed: no such program, or not executable")
    for node in (record.unit and record.unit.device_nodes) or ():
        if not Path(node).exists():
            raise LaunchError(
                "DEVICE_MISSING",
                f"{node} is not on this machine, and a device is reached by it; see that the vendor's driver is loaded",
            )
    return program


def _identity(found: Found) -> Identity | None:
    """Return a unit's first process, None where its number means nothing to this agent (another namespace)."""
    return procfs.identify(found.pid) if found.pid and procfs.in_group(found.pid, found.name) else None


def _being_started(name: str) -> bool:
    """Whether a former agent's command to start a unit, or one whose name begins so, still runs."""
    wanted = f"--unit={name}".encode()
    for stat in procfs.all_processes():
        try:
            words = (procfs.PROC / str(stat.pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if stat.alive and words[0].endswith(b"systemd-run") and any(word.startswith(wanted) for word in words):
            return True
    return False


async def _settled(prefix: str) -> None:
    """Wait while a former agent's command is on its way to starting a unit."""
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while _being_started(prefix) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110  # another's child
        await asyncio.sleep(_LOOK_SECONDS)
