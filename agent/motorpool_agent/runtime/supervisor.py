"""All instances of this node: adopts what a former agent left, and carries out what the controller desires."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from motorpool_agent.policy import Policy
from motorpool_agent.reconcile.assignment import Assignment, Desired, LogSubscription, ModelSource
from motorpool_agent.reconcile.attempts import Kept
from motorpool_agent.reconcile.decide import Action, decide
from motorpool_agent.reconcile.handle import Handle
from motorpool_agent.reconcile.observation import ExecutorStatus, ObservedInstance, OnDevices
from motorpool_agent.runtime import choosing, logreading, permitting, process
from motorpool_agent.runtime.availability import Availability
from motorpool_agent.runtime.context import Context, Timings
from motorpool_agent.runtime.docker import executor as docker
from motorpool_agent.runtime.engines import Engines
from motorpool_agent.runtime.errors import RuntimeFault
from motorpool_agent.runtime.executor import OneExecutor
from motorpool_agent.runtime.executors import Executors
from motorpool_agent.runtime.fetching import Models, NoModels, users_of
from motorpool_agent.runtime.instance import Instance
from motorpool_agent.runtime.launching import Backends
from motorpool_agent.runtime.logreading import Batch
from motorpool_agent.runtime.ports import Ports
from motorpool_agent.runtime.room import Holding, Room, Witness
from motorpool_agent.runtime.systemd import executor as systemd
from motorpool_agent.state.directory import DataDirectoryLock
from motorpool_agent.state.errors import HandleError
from motorpool_agent.state.handles import Handles
from motorpool_formats import ModelFacts

log = logging.getLogger(__name__)


class Supervisor:
    """The instances of this node. ``notify`` is called, in the loop, whenever ``observed`` changed.

    ``proxies`` are variables that every engine gets beneath the deployment's own; ``bare`` chooses what runs without an
    image: auto, process or systemd. ``policy`` reads what may run here, before each launch. ``launcher`` is the
    socket of who starts units for an agent that is not root's. ``kept`` says how many attempts of each are kept.
    ``executors`` stand in for this host's. ``witness`` tells whose processes are.
    Without ``models`` only local paths run.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        cache_dir: Path,
        backends: Backends,
        address: str,
        ports: range,
        notify: Callable[[], None],
        proxies: Mapping[str, str] = MappingProxyType({}),
        cluster: str = "",
        bare: str = choosing.AUTO,
        policy: Callable[[], Policy] = Policy,
        launcher: Path | None = None,
        timings: Timings | None = None,
        kept: Kept | None = None,
        executors: Mapping[str, OneExecutor] | None = None,
        witness: Witness | None = None,
        models: Models | None = None,
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._engines = Engines(self._data_dir, cache_dir)
        models = models or NoModels(self._data_dir / "models")
        timings = timings or Timings()
        executor = Executors(
            executors
            or {
                systemd.NAME: systemd.SystemdExecutor(self._data_dir, launcher),
                docker.NAME: docker.DockerExecutor(self._data_dir, cluster),
                # The last to stop an instance: it ends whatever bears its mark, also a unit in its grace.
                process.NAME: process.ProcessExecutor(self._data_dir),
            }
        )
        self._availability = Availability(executor.statuses, timings.look_period_seconds, notify)
        self._context = Context(
            executor=executor,
            executors=self._availability.known,
            bare=bare,
            starts_units=os.geteuid() == 0 or launcher is not None,
            backends=backends,
            engines=self._engines,
            policy=lambda: replace(policy(), closed=(str(self._data_dir),)),
            fetched=(self._engines.folder, models.directory),
            models=models,
            ports=Ports(ports, address),
            room=Room(backends, self._holdings, witness or Witness(), timings.memory_settles_seconds),
            handles=Handles(self._data_dir),
            timings=timings,
            proxies=proxies,
            kept=kept or Kept(),
            notify=notify,
            removed=self._removed,
        )
        self._instances: dict[str, Instance] = {}
        self._desired: Desired | None = None
        self._lock: DataDirectoryLock | None = None

    def reader(self, read: Callable[[Path], ModelFacts]) -> Callable[[Path], ModelFacts]:
        """Return a reader of models' headers that reads what may be launched here."""
        return permitting.reader(self._context.policy, self._context.fetched, read)

    async def adopt(self) -> None:
        """Take the data directory, and over what stands in it; raise ``DataDirectoryError`` if another agent has it.

        What matches on all counts goes on; what ended is restarted as its assignment says; the rest is quarantined.
        """
        self._lock = DataDirectoryLock(self._data_dir)
        found = await asyncio.to_thread(self._context.handles.read_all)
        for assignment_id, instance in zip(
            found, await asyncio.gather(*(self._adopted(*each) for each in found.items())), strict=True
        ):
            self._instances[assignment_id] = instance
        await asyncio.to_thread(self._context.executor.sweep, frozenset(found))
        strangers, _ = await asyncio.gather(
            self._context.executor.strangers(self._instances.keys()), self._availability.begin()
        )
        for assignment_id, what in strangers.items():
            self._instances[assignment_id] = Instance(
                self._context, _unknown(assignment_id), unproven=f"{what}; it is left as it is"
            )
        self._context.notify()

    def apply(self, desired: Desired) -> None:
        """Take over the desired state: idempotent, and done when it returns as far as ``observed`` is concerned."""
        self._desired = desired
        known = {assignment_id: instance.known for assignment_id, instance in self._instances.items()}
        for assignment_id, action in decide(desired, known).items():
            instance = self._instances.get(assignment_id)
            if instance is None:
                self._instances[assignment_id] = instance = Instance(self._context, desired.assignments[assignment_id])
                instance.begin()
                self._context.notify()
            elif action is Action.STOP:
                instance.remove(desired.tombstones[assignment_id])
            elif action is Action.REPLACE:
                instance.replace(desired.assignments[assignment_id])
            elif action is Action.QUARANTINE:
                instance.leave()
            else:
                instance.keep(desired.assignments[assignment_id])

    def observed(self) -> Mapping[str, ObservedInstance]:
        """Return what is known of each assignment, by its id."""
        return {assignment_id: instance.observed for assignment_id, instance in self._instances.items()}

    def executors(self) -> Mapping[str, ExecutorStatus]:
        """Return what is known of each executor, by its name."""
        return self._availability.statuses

    def users_of(self, files_id: str) -> list[str]:
        """Return the instances that have a model's files, or are to have them."""
        assignments = [instance.assignment for instance in self._instances.values()]
        return users_of(files_id, self._context.models.folder(files_id), assignments)

    def memory_used(self) -> Mapping[str, int | None]:
        """Return the host memory that each running instance holds beside the page cache, by name; None if unknown."""
        return {
            instance.observed.instance: self._context.executor.memory_bytes(instance.running)
            for instance in self._instances.values()
            if instance.running is not None
        }

    def on_devices(self) -> Mapping[str, OnDevices]:
        """Return the engines that run and the devices that they claim, by instance."""
        return {
            each.instance: OnDevices(pid=each.pid, device_ids=tuple(each.claims))
            for each in self._holdings().values()
            if each.claims
        }

    def _holdings(self) -> Mapping[str, Holding]:
        """Return the instances that run with what they may take of their devices, by assignment."""
        return {
            assignment_id: instance.holding
            for assignment_id, instance in self._instances.items()
            if instance.running is not None
        }

    async def lines(self, subscription: LogSubscription) -> AsyncGenerator[Batch]:
        """Yield an instance's log in batches of lines; raise ``RuntimeFault`` if there is no such instance or attempt.

        It ends with the instance, or when the subscription's time is over.
        """
        assignment_id = subscription.assignment_id
        if assignment_id not in self._instances:
            raise RuntimeFault(
                "INSTANCE_UNKNOWN",
                f"this node has no assignment {assignment_id[:80]}; `motorpool instances` lists what runs where",
            )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + subscription.timeout_seconds
        instance = self._instances[assignment_id]
        batches = logreading.lines(
            self._context.handles.directory(assignment_id),
            logreading.wanted(subscription, datetime.now(UTC)),
            secrets=lambda: instance.secrets,
            ended=lambda: assignment_id not in self._instances or loop.time() >= deadline,
        )
        async with contextlib.aclosing(batches):
            async for batch in batches:
                yield batch
                # An engine that writes without pause has no end at which to stop.
                if loop.time() >= deadline:
                    return

    def installed(self, backend: str, version: str) -> bool:
        """Whether a version's engine environment stands."""
        return self._engines.installed(backend, version)

    async def close(self) -> None:
        """End the work, leave the instances running, and give the data directory back."""
        await self._availability.close()
        await asyncio.gather(*(instance.close() for instance in self._instances.values()))
        await self._context.executor.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def _adopted(self, assignment_id: str, handle: Handle | HandleError) -> Instance:
        """Return an instance out of its handle; whatever one of them holds costs that one, and not the agent."""
        if isinstance(handle, HandleError):
            return Instance(self._context, _unknown(assignment_id), unproven=str(handle))
        try:
            instance = Instance(self._context, handle.assignment, handle=handle)
            await instance.adopt()
        except Exception as error:
            log.exception("instance was not adopted", extra={"assignment_id": assignment_id})
            directory = self._context.handles.directory(assignment_id)
            return Instance(
                self._context,
                handle.assignment,
                unproven=f"what stands in {directory} cannot be looked at ({error}); it is left as it is, restart the "
                "agent when that is mended, or remove the instance with `motorpool delete`",
            )
        return instance

    def _removed(self, assignment_id: str) -> None:
        self._instances.pop(assignment_id, None)
        if self._desired is not None and assignment_id in self._desired.assignments:
            # Wished for again while it was being removed, by a controller that was restored meanwhile.
            self.apply(self._desired)
        self._context.notify()


def _unknown(assignment_id: str) -> Assignment:
    """Return what stands for an assignment whose handle cannot be read: its id, and the lowest generation."""
    return Assignment(
        assignment_id=assignment_id,
        generation=0,
        digest="",
        instance="",
        deployment="",
        backend="",
        backend_version="",
        framework="",
        model=ModelSource(kind=""),
        served_model_name="",
    )
