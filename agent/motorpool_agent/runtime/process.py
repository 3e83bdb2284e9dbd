"""The executor ``process``: an engine as a process of the host, below a shim that outlives the agent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from motorpool_agent import failpoints
from motorpool_agent.reconcile.handle import Handle, LaunchRecord, Phase
from motorpool_agent.reconcile.observation import ExecutorStatus
from motorpool_agent.runtime import cgroup as cgroups
from motorpool_agent.runtime import logs, procfs, shimfiles, spawn
from motorpool_agent.runtime.errors import LaunchError, StopError
from motorpool_agent.runtime.executor import Evidence, Exit, Progress, Running, Verdict
from motorpool_agent.runtime.family import Family, gone, kill
from motorpool_agent.runtime.shim import specification

log = logging.getLogger(__name__)

NAME = "process"
_SHIM_START_SECONDS = 30.0
_SHIM_END_SECONDS = 10.0
_STATUS_LOOK_SECONDS = 0.01


class ProcessExecutor:
    """Starts engines as processes, finds them again, waits for their end, stops them whole."""

    def __init__(self, data_dir: Path) -> None:
        self._cgroups = cgroups.Cgroups(data_dir)

    async def status(self) -> ExecutorStatus:
        """Return that it works: the kernel is there."""
        return ExecutorStatus(executor=NAME, works=True)

    async def fetch(self, record: LaunchRecord, progress: Progress) -> None:
        """Get nothing: what a process executes is on the machine, or its engine's environment was made before."""

    async def start(self, directory: Path, run: int, record: LaunchRecord, before_exec: Callable[[], None]) -> Running:
        """Execute a launch; the interpreter of the shim starts while ``before_exec`` writes the handle."""
        cgroup = self._cgroups.create(directory.name)
        failpoints.reach("group.made")
        path = logs.prepare(directory, run, Path(record.working_directory))
        content = spawn.specification(
            specification.EXEC, run, cgroup, self._cgroups.oom_counter(cgroup), path, record=record
        )
        return await self._run_shim(directory, run, content, before_exec)

    async def inspect(self, directory: Path, handle: Handle) -> Evidence:
        """Compare a handle with the host: boot, run, pid, start ticks and the shim's lock."""
        if handle.boot_id != procfs.boot_id():
            return Evidence(verdict=Verdict.NOTHING if handle.phase is Phase.PREPARED else Verdict.GONE)
        # Asked first: a shim that ends in between has left its exit status by then.
        held = shimfiles.lock_held(directory)
        try:
            process = shimfiles.read_process(directory)
        except shimfiles.UnreadableError as error:
            return Evidence(verdict=Verdict.UNCERTAIN, message=str(error))
        if process is None or process.run != handle.run or process.boot_id != handle.boot_id:
            if held:
                return Evidence(verdict=Verdict.STARTING)
            if handle.phase is Phase.PREPARED:
                return Evidence(verdict=Verdict.NOTHING)
            return Evidence(
                verdict=Verdict.UNCERTAIN,
                message=f"{directory / specification.PROCESS_NAME} is missing or of another run, and it was started",
            )
        if handle.engine is not None and handle.engine != process.engine:
            return Evidence(
                verdict=Verdict.UNCERTAIN,
                message=f"the handle names process {handle.engine.pid}, the shim's file {process.engine_pid}",
            )
        exit_file = shimfiles.read_exit(directory, handle.run)
        if exit_file is not None:
            return Evidence(verdict=Verdict.EXITED, exit=_exit(exit_file))
        running = _runs(directory, process)
        if procfs.hidden(process.engine):
            return Evidence(verdict=Verdict.UNCERTAIN, message=_hidden(process.engine_pid))
        if procfs.alive(process.engine) or held:
            return Evidence(verdict=Verdict.RUNNING, running=running)
        if procfs.taken_by_another(process.engine):
            return Evidence(
                verdict=Verdict.UNCERTAIN,
                message=f"process {process.engine_pid} exists and is not the one that was started "
                "(other start time), and nobody kept an exit status",
            )
        return Evidence(verdict=Verdict.GONE)

    async def ended(self, running: Running) -> Exit:
        """Wait for the engine's end. A shim that dies before its engine is replaced: the log must go on."""
        while procfs.alive(running.engine):
            waits = [asyncio.ensure_future(gone(running.engine)), asyncio.ensure_future(gone(running.shim))]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
                await asyncio.gather(*waits, return_exceptions=True)
            if procfs.alive(running.engine) and not procfs.alive(running.shim):
                if running.shim is not None:
                    _reap(running.shim.pid)
                await self._attach(running)
        deadline = asyncio.get_running_loop().time() + _SHIM_END_SECONDS
        while (found := shimfiles.read_exit(running.directory, running.run)) is None:
            if not procfs.alive(running.shim) or asyncio.get_running_loop().time() > deadline:
                # Written between the two looks.
                found = shimfiles.read_exit(running.directory, running.run)
                break
            await asyncio.sleep(_STATUS_LOOK_SECONDS)
        return Exit() if found is None else _exit(found)

    async def stop(self, directory: Path, grace_seconds: float) -> None:
        """TERM, grace, KILL for all that is provably of this instance; the shim ends by itself when it has no child."""
        await self._settled(directory)
        try:
            process = shimfiles.read_process(directory)
        except shimfiles.UnreadableError as error:
            if shimfiles.lock_held(directory):
                raise StopError("STOP_UNPROVEN", f"{error}; a shim lives there, end it by hand") from error
            process = None
        if process is not None and procfs.hidden(process.engine):
            raise StopError("STOP_UNPROVEN", _hidden(process.engine_pid))
        if process is None or process.boot_id != procfs.boot_id():
            await Family(directory=str(directory)).stop(grace_seconds)
        else:
            await self._family(directory, process).stop(grace_seconds)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(gone(process.shim), _SHIM_END_SECONDS)
            kill(process.shim)
            await gone(process.shim)
            _reap(process.shim.pid)
            cgroups.remove(process.cgroup)
        # Also one that was made for a launch that came to nothing.
        cgroups.remove(self._cgroups.path(directory.name))
        if shimfiles.lock_held(directory):
            raise StopError(
                "STOP_UNPROVEN",
                f"{directory / shimfiles.LOCK_NAME} is held by a process that is not known here; "
                "`fuser` names it, end it by hand",
            )

    def holds(self, directory: Path) -> bool:
        """Whether a launch was ever prepared here."""
        return directory.exists()

    async def strangers(self, known: Collection[str]) -> Mapping[str, str]:
        """Return nothing: without a handle, a process below its shim is found by the shim's own files."""
        return {}

    async def close(self) -> None:
        """Let go of nothing: shims need no agent."""

    def memory_bytes(self, running: Running) -> int | None:
        """Return what a run's processes hold beside the page cache."""
        pids = cgroups.members(running.cgroup)
        if not pids:
            family = Family(
                directory=str(running.directory), engine=running.engine, shim=running.shim, cgroup=running.cgroup
            )
            pids = [stat.pid for stat in family.members()]
        return procfs.private_bytes(pids)

    def sweep(self, kept: frozenset[str]) -> None:
        """Remove the empty control groups of assignments that are not among ``kept``."""
        self._cgroups.sweep(kept)

    async def _settled(self, directory: Path) -> None:
        """Wait while a shim is on its way to its process file."""
        deadline = asyncio.get_running_loop().time() + _SHIM_START_SECONDS
        while shimfiles.lock_held(directory) and asyncio.get_running_loop().time() < deadline:
            try:
                process = shimfiles.read_process(directory)
            except shimfiles.UnreadableError:
                return
            # A file of an earlier run names a dead shim; the living one is about to replace it.
            if process is not None and procfs.alive(process.shim):
                return
            await asyncio.sleep(_STATUS_LOOK_SECONDS)

    async def _attach(self, running: Running) -> None:
        """Put a new shim beside an engine whose own is dead; it keeps the log, but cannot learn the exit status."""
        content = spawn.specification(
            specification.ATTACH,
            running.run,
            running.cgroup,
            "",
            logs.path(running.directory, running.run),
            engine=running.engine,
        )
        try:
            running.shim = (await self._run_shim(running.directory, running.run, content, lambda: None)).shim
        except LaunchError as error:
            log.warning("shim was not replaced: %s", error, extra={"directory": str(running.directory)})
            await gone(running.engine)
        else:
            log.warning("shim was replaced", extra={"directory": str(running.directory)})

    async def _run_shim(self, directory: Path, run: int, content: bytes, before_exec: Callable[[], None]) -> Running:
        lock = shimfiles.take_lock(directory)
        if lock is None:
            raise LaunchError("EXECUTOR_BUSY", f"{directory} still has a living shim; stop the instance first")
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            try:
                pid = spawn.shim_process(directory, content, lock, theirs.fileno())
            finally:
                # The shim holds the same lock through its own descriptor from here on.
                os.close(lock)
                theirs.close()
            failpoints.reach("shim.spawned")
            try:
                await asyncio.to_thread(before_exec)
            except OSError as error:
                # Without a byte the shim executes nothing.
                await _discard(pid)
                raise LaunchError(
                    "STATE_UNWRITABLE",
                    f"the handle in {directory} cannot be written: {error}; nothing was executed; "
                    "free space there, or give the agent's user permission to write",
                ) from error
            except BaseException:
                await _discard(pid)
                raise
            said = await _release(ours, directory)
            process = shimfiles.read_process(directory)
        if not said.startswith(specification.STARTED) or process is None or process.run != run:
            await _discard(pid)
            detail = said.removeprefix(specification.FAILED).decode(errors="replace") or logs.last_text(
                directory / logs.SHIM_ERRORS, 2000
            )
            raise LaunchError(
                "SHIM_FAILED",
                f"the shim of {directory} did not start, and nothing was executed: {detail or 'no message'}; "
                "see to space, permissions and limits of the agent's user there",
            )
        return _runs(directory, process)

    @staticmethod
    def _family(directory: Path, process: shimfiles.ProcessFile) -> Family:
        return Family(directory=str(directory), engine=process.engine, shim=process.shim, cgroup=process.cgroup)


def _runs(directory: Path, process: shimfiles.ProcessFile) -> Running:
    return Running(
        executor=NAME,
        directory=directory,
        run=process.run,
        engine=process.engine,
        shim=process.shim,
        cgroup=process.cgroup,
    )


def _exit(file: shimfiles.ExitFile) -> Exit:
    return Exit(exit_code=file.exit_code, signal=file.signal, out_of_memory=file.out_of_memory, error=file.error)


async def _release(ours: socket.socket, directory: Path) -> bytes:
    """Let the shim go on, and return what it said: started and executed, or why not."""
    loop = asyncio.get_running_loop()
    said = b""
    try:
        async with asyncio.timeout(_SHIM_START_SECONDS):
            await loop.sock_sendall(ours, b"g")
            failpoints.reach("shim.released")
            while said != specification.STARTED + specification.EXECUTED and (more := await loop.sock_recv(ours, 1024)):
                said += more
    except (OSError, TimeoutError) as error:
        log.warning("shim said nothing more: %s", error, extra={"directory": str(directory)})
        return b""
    return said


async def _discard(pid: int) -> None:
    """End a shim that came to nothing."""
    identity = procfs.identify(pid)
    if identity is not None:
        kill(identity)
        await gone(identity)
    _reap(pid)


def _reap(pid: int) -> None:
    """Take a dead shim's place out of the process table, where it was this agent's child."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _hidden(pid: int) -> str:
    return (
        f"process {pid} lives, and whose it is /proc does not tell this user (hidepid); mount /proc with gid= of a "
        "group that the agent is in, or without hidepid"
    )
