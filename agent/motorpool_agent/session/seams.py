"""What the session drives, as it sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

import grpc.aio

from motorpool_agent.identity.store import Identity
from motorpool_agent.inventory import PluginStatus, PluginUsage
from motorpool_agent.inventory.pressure import Condition, Resource
from motorpool_agent.reconcile.assignment import Desired, LogSubscription
from motorpool_agent.reconcile.observation import ExecutorStatus, ModelFiles, ObservedInstance, OnDevices
from motorpool_agent.runtime.logreading import Batch
from motorpool_sdk.accelerator import Device, Sample
from motorpool_sdk.backend import Profile


class Instances(Protocol):
    """Runs what is desired. ``runtime.supervisor`` is one."""

    def apply(self, desired: Desired) -> None:
        """Take over the desired state; idempotent, and done when it returns as far as ``observed`` is concerned."""
        ...

    def observed(self) -> Mapping[str, ObservedInstance]:
        """Return what is known of each assignment, by its id."""
        ...

    def executors(self) -> Mapping[str, ExecutorStatus]:
        """Return what is known of each executor, by its name."""
        ...

    def users_of(self, files_id: str) -> list[str]:
        """Return the instances that have a model's files."""
        ...

    def memory_used(self) -> Mapping[str, int | None]:
        """Return the host memory that each instance holds, by name; None if unknown."""
        ...

    def on_devices(self) -> Mapping[str, OnDevices]:
        """Return the engines that run and the devices that they claim, by instance."""
        ...

    def lines(self, subscription: LogSubscription) -> AsyncIterator[Batch]:
        """Return an instance's log in batches of lines; raises a RuntimeFault where there is none."""
        ...

    def installed(self, backend: str, version: str) -> bool:
        """Whether a version's engine environment stands."""
        ...


class Models(Protocol):
    """Has models of hubs. ``files.downloads`` is one."""

    @property
    def known(self) -> Mapping[str, ModelFiles]:
        """What is there of models, by id."""
        ...

    async def delete(self, files_id: str, etag: str, users: Callable[[], Sequence[str]]) -> int:
        """Delete what nobody uses and return the bytes that came free; raises a ModelFilesError where it stays."""
        ...


class Plugins(Protocol):
    """Knows plugins and devices. ``inventory.plugins`` is one."""

    def statuses(self) -> tuple[PluginStatus, ...]:
        """Return what became of each plugin."""
        ...

    def profiles(self) -> Mapping[str, Profile]:
        """Return profiles by backend."""
        ...

    def devices(self) -> Mapping[str, Device]:
        """Return devices by id."""
        ...

    async def sample(self) -> Mapping[str, Sample]:
        """Measure the devices."""
        ...

    def processes(self) -> tuple[PluginUsage, ...]:
        """Return what the plugins' processes hold."""
        ...


class Care(Protocol):
    """Knows what the machine has left. ``inventory.care`` is one."""

    resources: tuple[Resource, ...]

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """What it runs short of or not, by name."""
        ...

    async def look(self) -> None:
        """Measure."""
        ...


class Dial(Protocol):
    """Opens a channel to a controller. ``identity.dial.dial_agents`` is one."""

    def __call__(self, identity: Identity, endpoint: str, /, *, use_proxy: bool) -> grpc.aio.Channel:
        """Return the channel, which need not be connected yet."""
        ...
