"""What the session drives in its tests: small real implementations of its seams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from motorpool_agent.inventory import HostUsage, PluginState, PluginStatus, PluginUsage
from motorpool_agent.reconcile.assignment import Desired, LogSubscription
from motorpool_agent.reconcile.observation import ExecutorStatus, ObservedInstance, OnDevices, State
from motorpool_agent.runtime.errors import RuntimeFault
from motorpool_agent.runtime.logreading import Batch
from motorpool_sdk.accelerator import Device, Health, MemoryKind, Process, Sample
from motorpool_sdk.backend import Environment, MemoryModel, Option, OptionKind, Profile, Version

PROFILE = Profile(
    backend="llama_cpp",
    versions=(Version(version="1", environment=Environment(requirements=("x==1",))),),
    memory_model=MemoryModel.LAYERS,
    rules="gguf",
    options=(Option(name="ctx-size", aliases=("c",), kind=OptionKind.INTEGER, meaning="context_length"),),
)
STATUS = PluginStatus(
    plugin_id="llama_cpp",
    distribution="motorpool-llama-cpp",
    version="0.1.0",
    kind="backend",
    provides="llama_cpp",
    state=PluginState.READY,
)
DEVICE = Device(
    device_id="GPU-1",
    vendor="nvidia",
    framework="cuda",
    memory_kind=MemoryKind.DEDICATED,
    memory_bytes=1 << 30,
    health=Health.HEALTHY,
)


@dataclass
class RecordingInstances:
    """Keeps everything it was told; each assignment counts as starting at once, and a tombstone as carried out."""

    changed: Callable[[], None] = lambda: None
    applied: list[Desired] = field(default_factory=list)
    running: dict[str, ObservedInstance] = field(default_factory=dict)
    texts: list[list[str]] = field(default_factory=list)
    follow: asyncio.Event | None = None
    trip: Exception | None = None
    engines: set[tuple[str, str]] = field(default_factory=set)
    executor_by_name: dict[str, ExecutorStatus] = field(default_factory=dict)

    def apply(self, desired: Desired) -> None:
        if self.trip is not None:
            raise self.trip
        self.applied.append(desired)
        for assignment in desired.assignments.values():
            self.running[assignment.assignment_id] = ObservedInstance(
                assignment_id=assignment.assignment_id,
                instance=assignment.instance,
                generation=assignment.generation,
                state=State.STARTING,
                pid=4711,
            )
        for tombstone in desired.tombstones.values():
            self.running.pop(tombstone.assignment_id, None)
        self.changed()

    def observed(self) -> Mapping[str, ObservedInstance]:
        return self.running

    def executors(self) -> Mapping[str, ExecutorStatus]:
        return self.executor_by_name

    def users_of(self, files_id: str) -> list[str]:
        assignments = self.applied[-1].assignments.values() if self.applied else ()
        return [each.instance for each in assignments if files_id in {one.files_id for one in each.downloads}]

    def memory_used(self) -> Mapping[str, int | None]:
        return {each.instance: 12345 for each in self.running.values()}

    def on_devices(self) -> Mapping[str, OnDevices]:
        return {}

    async def lines(self, subscription: LogSubscription) -> AsyncIterator[Batch]:
        if subscription.assignment_id not in self.running:
            raise RuntimeFault("INSTANCE_UNKNOWN", f"no log of {subscription.assignment_id} is kept here")
        for batch in self.texts:
            yield Batch(lines=batch, position="1/x/1")
        if self.follow is not None:
            await self.follow.wait()

    def installed(self, backend: str, version: str) -> bool:
        return (backend, version) in self.engines


@dataclass
class FixedPlugins:
    """Always the same plugins and devices."""

    profile_by_name: dict[str, Profile] = field(default_factory=lambda: {"llama_cpp": PROFILE})
    status: tuple[PluginStatus, ...] = (STATUS,)
    device_by_id: dict[str, Device] = field(default_factory=lambda: {"GPU-1": DEVICE})

    def statuses(self) -> tuple[PluginStatus, ...]:
        return self.status

    def profiles(self) -> Mapping[str, Profile]:
        return self.profile_by_name

    def devices(self) -> Mapping[str, Device]:
        return self.device_by_id

    def processes(self) -> tuple[PluginUsage, ...]:
        return (PluginUsage(plugin_id="acme", pid=17, resident_bytes=4096, open_files=9, sample_seconds=0.25),)

    async def sample(self) -> Mapping[str, Sample]:
        return {"GPU-1": Sample(device_id="GPU-1", used_bytes=77, processes=(Process(pid=4711), Process(pid=9)))}


def measure() -> HostUsage:
    return HostUsage(memory_used_bytes=1000, memory_available_bytes=2000, cpu_ratio=None)
