"""A machine in memory: its processes outlive its agent, its disk outlives both, and it knows why each process ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from motorpool_agent.inventory import HostUsage, PluginState, PluginStatus, PluginUsage
from motorpool_agent.reconcile.handle import Handle, Identity, LaunchRecord
from motorpool_agent.reconcile.observation import ExecutorStatus
from motorpool_agent.runtime.executor import Evidence, Exit, Progress, Running, Verdict
from motorpool_sdk.accelerator import Device, Exposure, Health, MemoryKind, Sample
from motorpool_sdk.accelerator import Process as OnDevice
from motorpool_sdk.backend import Finding, Launch, LaunchRequest, MemoryModel, Profile, Version
from tests.session.loops import Mailbox

GIB = 1 << 30
DEVICE_BYTES = 24 * GIB
HOST_BYTES = 256 * GIB
BACKEND = "server"
ENGINE = "/opt/acme/engine"
_FIRST_PID = 5_000_000  # beyond any number that Linux gives: never a stranger's


@dataclass(slots=True)
class Process:
    """One engine, as the machine has it."""

    pid: int
    boot_id: str
    assignment_id: str
    generation: int
    run: int
    port: int
    device_bytes: Mapping[str, int]
    end: str = ""
    """Why it ended: "stopped" by an agent, "crashed", "rebooted"; empty while it lives."""
    ends: list[Mailbox[None]] = field(default_factory=list)

    def ended(self, why: str) -> None:
        self.end = why
        for waiting in self.ends:
            waiting.put(None)


@dataclass(frozen=True, slots=True)
class Stopped:
    """An agent ended a process that lived."""

    node: str
    assignment_id: str
    generation: int


class Machine:
    """A host with devices, a disk and processes."""

    def __init__(self, node: str, disk: Path, ports: range, devices: int) -> None:
        self.node = node
        self.disk = disk
        self.ports = ports
        self.boots = 1
        self.processes: dict[tuple[str, int], Process] = {}
        """By the directory's name and the run: the last thing the host knows of each."""
        self.launched: list[Process] = []
        self.stopped: list[Stopped] = []
        self.unwritten: list[str] = []
        """What was executed before its handle was on disk."""
        self.outside_bytes: dict[str, int] = {}
        self.broken = False
        """Engines cannot be started here."""
        card = f"card-{node.removeprefix('nodes/')}"
        self.devices = {
            f"{card}{index}": Device(
                device_id=f"{card}{index}",
                vendor="acme",
                framework="acme",
                index=index,
                memory_kind=MemoryKind.DEDICATED,
                memory_bytes=DEVICE_BYTES,
                health=Health.HEALTHY,
            )
            for index in range(devices)
        }

    @property
    def boot_id(self) -> str:
        return f"boot-{self.node}-{self.boots}"

    def alive(self) -> list[Process]:
        return [each for each in self.launched if not each.end]

    def listens(self, port: int) -> bool:
        return any(each.port == port for each in self.alive())

    def start(self, directory: Path, run: int, record: LaunchRecord) -> Process:
        handle = json.loads((directory / "handle.json").read_bytes())["handle"]
        if handle["run"] != run:
            self.unwritten.append(f"run {run} of {directory.name}")
        sizes = record.argv[1:]
        process = Process(
            pid=_FIRST_PID + len(self.launched),
            boot_id=self.boot_id,
            assignment_id=handle["assignment"]["assignment_id"],
            generation=handle["assignment"]["generation"],
            run=run,
            port=next(iter(record.ports.values())),
            device_bytes=dict(zip(record.device_ids, map(int, sizes), strict=True)),
        )
        self.processes[directory.name, run] = process
        self.launched.append(process)
        return process

    def crash(self, process: Process) -> None:
        process.ended("crashed")

    def reboot(self) -> None:
        """Every process is gone, and with a new boot nobody knows how it ended."""
        for process in self.alive():
            process.ended("rebooted")
        self.boots += 1

    def used_bytes(self, device: str) -> int:
        return self.outside_bytes.get(device, 0) + sum(each.device_bytes.get(device, 0) for each in self.alive())

    def measure(self) -> HostUsage:
        return HostUsage(memory_used_bytes=GIB, memory_available_bytes=HOST_BYTES - GIB, cpu_ratio=None)


class MachineExecutor:
    """Executes launches on such a machine, as the executor of real processes does on a real one."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def fetch(self, record: LaunchRecord, progress: Progress) -> None:
        pass

    async def start(self, directory: Path, run: int, record: LaunchRecord, before_exec: Callable[[], None]) -> Running:
        await asyncio.to_thread(before_exec)
        await asyncio.sleep(0)  # an agent may die here, with a handle and without a process
        if self._machine.broken:
            raise OSError("no more processes")
        process = self._machine.start(directory, run, record)
        await asyncio.sleep(0)  # and here, with a process of which its handle does not know
        return self._running(directory, process)

    async def inspect(self, directory: Path, handle: Handle) -> Evidence:
        process = self._machine.processes.get((directory.name, handle.run))
        if process is None:
            return Evidence(verdict=Verdict.NOTHING)
        if handle.engine is not None and handle.engine.pid != process.pid:
            return Evidence(verdict=Verdict.UNCERTAIN, message="another process stands in its place")
        if not process.end:
            return Evidence(verdict=Verdict.RUNNING, running=self._running(directory, process))
        if process.end == "rebooted":
            return Evidence(verdict=Verdict.GONE)
        return Evidence(verdict=Verdict.EXITED, exit=Exit(exit_code=1))

    async def ended(self, running: Running) -> Exit:
        process = self._machine.processes[running.directory.name, running.run]
        while not process.end:
            box: Mailbox[None] = Mailbox()
            process.ends.append(box)
            await box.changed()
        return Exit(exit_code=1) if process.end == "crashed" else Exit(signal=15)

    async def stop(self, directory: Path, grace_seconds: float) -> None:
        for process in self._of(directory):
            if not process.end:
                await asyncio.sleep(min(1.0, grace_seconds))
            if not process.end:
                self._machine.stopped.append(Stopped(self._machine.node, process.assignment_id, process.generation))
                process.ended("stopped")

    def holds(self, directory: Path) -> bool:
        return any(not each.end for each in self._of(directory))

    def memory_bytes(self, running: Running) -> int | None:
        return GIB

    def sweep(self, kept: frozenset[str]) -> None:
        pass

    async def strangers(self, known: Collection[str]) -> Mapping[str, str]:
        return {}

    async def close(self) -> None:
        pass

    async def status(self) -> ExecutorStatus:
        return ExecutorStatus(executor="process", works=True)

    def _of(self, directory: Path) -> list[Process]:
        return [each for each in self._machine.launched if each.assignment_id == directory.name]

    def _running(self, directory: Path, process: Process) -> Running:
        identity = Identity(pid=process.pid, start_ticks=process.pid, boot_id=process.boot_id)
        return Running(executor="process", directory=directory, run=process.run, engine=identity)


class MachinePlugins:
    """A vendor whose cards these are, and a backend whose engine takes exactly what was claimed for it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._profile = Profile(
            backend=BACKEND,
            versions=(Version(version="1", executable=ENGINE, frameworks=("acme",), executors=("process",)),),
            memory_model=MemoryModel.FIXED,
            rules="fixed",
            formats=("gguf",),
            categories=("llm",),
        )

    # --- as the session sees it

    def statuses(self) -> tuple[PluginStatus, ...]:
        return (
            PluginStatus(
                plugin_id=BACKEND,
                distribution="test",
                version="1",
                kind="backend",
                provides=BACKEND,
                state=PluginState.READY,
            ),
        )

    def profiles(self) -> Mapping[str, Profile]:
        return {BACKEND: self._profile}

    def devices(self) -> Mapping[str, Device]:
        return self._machine.devices

    def processes(self) -> tuple[PluginUsage, ...]:
        return ()

    async def sample(self) -> Mapping[str, Sample]:
        return {
            device: Sample(
                device_id=device,
                used_bytes=self._machine.used_bytes(device),
                processes=tuple(
                    OnDevice(pid=each.pid, used_bytes=each.device_bytes[device])
                    for each in self._machine.alive()
                    if device in each.device_bytes
                ),
            )
            for device in self._machine.devices
        }

    # --- as the supervisor sees it

    def profile(self, backend: str) -> Profile | None:
        return self._profile if backend == BACKEND else None

    async def wait_ready(self, backend: str = "") -> None:
        pass

    async def check(self, backend: str, request: LaunchRequest) -> Sequence[Finding]:
        return ()

    async def launch(self, backend: str, request: LaunchRequest) -> Launch:
        return Launch(argv=(ENGINE, *map(str, request.device_memory_bytes)))

    async def measured(self, device_ids: Collection[str]) -> Mapping[str, Sample]:
        return {device: sample for device, sample in (await self.sample()).items() if device in device_ids}

    async def expose(self, vendor: str, device_ids: Sequence[str]) -> Exposure:
        return Exposure()
