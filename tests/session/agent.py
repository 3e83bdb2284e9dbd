"""One run of an agent on a machine: everything of the real one but gRPC, vendors' code and real processes."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc.aio

from motorpool import v1
from motorpool_agent.identity.renewal import Renewal
from motorpool_agent.identity.store import Identity, IdentityStore
from motorpool_agent.policy import Policy
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_agent.session.backoff import Backoff
from motorpool_agent.session.questions import Questions
from motorpool_agent.session.session import NodeReport, Session
from motorpool_agent.state.desired import DesiredRecord
from motorpool_agent.state.directory import LOCK_NAME
from motorpool_formats.facts import ModelFacts
from tests.session.loops import Clock, ProcessLoop
from tests.session.machine import BACKEND, HOST_BYTES, Machine, MachineExecutor, MachinePlugins
from tests.session.network import Channel, Network, Stream

FACTS = ModelFacts(
    format="gguf",
    files=("model.gguf",),
    name="m",
    chat_template=True,
    parameters=1 << 20,
    digest="sha256:m",
    architecture="llama",
    categories=("llm",),
    quantization="Q4_0",
    context_length=2048,
    weight_bytes=1 << 20,
    file_bytes=1 << 20,
    layer_bytes=(1 << 19, 1 << 19),
    nonlayer_bytes=0,
    layers=2,
    kv_heads=(1, 1),
)


class AgentProcess:
    """An agent that runs, in a loop of its own; ``kill`` ends it as SIGKILL does."""

    def __init__(self, machine: Machine, clock: Clock, network: Network, instance_id: str) -> None:
        self.machine = machine
        self.loop = ProcessLoop(clock, machine.listens)
        self.dead = False
        self.versions: list[tuple[int, int]] = []
        """Versions it accepted, in this run, in their order."""
        self.supervisor: Supervisor | None = None
        self._session: Session | None = None
        self.backoff = Backoff(lambda: 0.5)
        self._clock = clock
        self._network = network
        self._instance_id = instance_id
        self._streams: list[Stream] = []
        self._task = self.loop.create_task(self._live())

    @property
    def streams(self) -> list[Stream]:
        return self._streams

    def kill(self, *, machine_too: bool = False) -> None:
        """Nothing of it runs any more; its kernel closes its files and, if that is left, its connections."""
        self.dead = True
        self._network.agent_died(self._streams, machine_too=machine_too)
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if descriptor.readlink() == self.machine.disk / LOCK_NAME:
                    os.close(int(descriptor.name))

    def renewed(self) -> None:
        """Its certificate was renewed."""
        if self._session is not None:
            self.loop.call_soon(self._session.reconnect)

    async def _live(self) -> None:
        store = IdentityStore(self.machine.disk)
        identity = store.load()
        assert identity is not None
        record = DesiredRecord(self.machine.disk)
        changed = asyncio.Event()
        plugins = MachinePlugins(self.machine)
        self.supervisor = supervisor = Supervisor(
            data_dir=self.machine.disk,
            cache_dir=self.machine.disk / "cache",
            backends=plugins,
            address="127.0.0.1",
            ports=self.machine.ports,
            notify=changed.set,
            # The world lies in memory, below /dev, where models otherwise do not.
            policy=lambda: Policy(roots=("/", str(self.machine.disk.parents[1]))),
            executors={"process": MachineExecutor(self.machine)},
        )
        await supervisor.adopt()
        self._session = session = Session(
            renewal=Renewal(store, identity, use_proxy=False, now=self._clock.now, chance=lambda: 0.5),
            report=NodeReport(
                agent_instance_id=self._instance_id,
                agent_version="0.1.0",
                host=v1.Host(
                    hostname=self.machine.node,
                    os="linux",
                    architecture="amd64",
                    cpu_count=8,
                    memory_bytes=HOST_BYTES,
                    boot_id=self.machine.boot_id,
                ),
                address="127.0.0.1",
            ),
            instances=supervisor,
            plugins=plugins,
            questions=Questions(read=lambda _: FACTS, notify=changed.set, now=self._clock.now),
            measure=self.machine.measure,
            record=partial(record.accept, identity.document.cluster_id),
            accepted=record.last_version,
            changed=changed,
            backoff=self.backoff,
            dial=self._dial,
        )
        await session.run()

    def _dial(self, identity: Identity, _endpoint: str, *, use_proxy: bool) -> grpc.aio.Channel:
        assert not use_proxy

        def opened() -> Stream:
            stream = self._network.dial(self.machine.node, identity.certificate_pem)
            self._streams = [each for each in self._streams if not each.agent_done]
            self._streams.append(stream)
            return stream

        return cast("grpc.aio.Channel", Channel(opened))


def failed(agent: AgentProcess) -> BaseException | None:
    """Return why an agent ended by itself; it never should."""
    task: asyncio.Task[Any] = agent._task  # its own module
    return task.exception() if task.done() and not task.cancelled() else None


__all__ = ["BACKEND", "FACTS", "AgentProcess", "failed"]
