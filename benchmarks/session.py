"""The session: what a message costs the controller, beside a raw grpc.aio echo over the same TLS in the same run.

A controller runs by its command; this process enrols nodes, opens their sessions and speaks them from serialized
messages. The echo is a server in a process of its own, spoken to by the same code with messages of the same size. All
sessions are in a closed loop: a window of messages, of which the last one is answered (the echo answers each), and the
next window. A heartbeat is answered where its digest is wrong: with the wish to have everything sent again.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc

from benchmarks.figures import BenchmarkError, Figure, median
from benchmarks.raw_echo import METHOD, running_echo
from examples.demo.cluster import Cluster, DemoError, run
from motorpool import v1
from motorpool_agent.convert.inventory import host_message
from motorpool_agent.convert.observed import digest_of, digest_over
from motorpool_agent.identity.dial import dial_agents
from motorpool_agent.identity.enrollment import enroll
from motorpool_agent.identity.store import Identity, IdentityStore
from motorpool_agent.inventory import facts

NODES, DEVICES = 16, 8
ROUNDS = 5
WINDOW = 10
SESSION = "/motorpool.v1.AgentService/Session"
TIMEOUT_SECONDS = 60.0
GIB = 1 << 30

Call = grpc.aio.StreamStreamCall[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of traffic: what each node has, and the window that it sends again and again."""

    name: str
    meaning: str
    devices: int
    window: Callable[[Node], list[bytes]]
    messages: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a message took: processor time of the server, and how many passed in a second."""

    cpu_us: float
    messages_per_second: float


class Node:
    """One agent's side of a session: its identity, and its messages ready to be sent."""

    def __init__(self, identity: Identity, devices: int) -> None:
        self.identity = identity
        self.objects = {f"device/{number}": device(str(number), "") for number in range(devices)}
        self._epoch = 0
        self._changes = 0

    @asynccontextmanager
    async def session(self, endpoint: str) -> AsyncIterator[Call]:
        """Open a session that has shown everything and knows what is desired."""
        async with dial_agents(self.identity, endpoint, use_proxy=False) as channel:
            call: Call = channel.stream_stream(SESSION)()  # bytes: no serializers
            document = self.identity.document
            hello = v1.Hello(
                cluster_id=document.cluster_id,
                node_uid=document.node_uid,
                boot_id="boot",
                agent_instance_id=uuid.uuid4().hex,
                agent_version="0.1.0",
                protocol_min=1,
                protocol_max=1,
                host=host_message(facts()),
                address="127.0.0.1",
            )
            await call.write(v1.SessionRequest(hello=hello).SerializeToString())
            self._epoch = (await _read(call)).session_epoch
            full = v1.ObservedState(full=True, objects=list(self.objects.values()))
            await call.write(v1.SessionRequest(session_epoch=self._epoch, observed=full).SerializeToString())
            while (message := await _read(call)).WhichOneof("message") != "desired":
                pass
            ack = v1.DesiredAck(version=message.desired.results_in)
            await call.write(v1.SessionRequest(session_epoch=self._epoch, desired_ack=ack).SerializeToString())
            # Whatever the beginning set off is over when this one is answered.
            await call.write(self.heartbeat(answered=True))
            await _answer(call)
            yield call
            call.cancel()

    @asynccontextmanager
    async def echo(self, endpoint: str) -> AsyncIterator[Call]:
        """Open a stream to the raw echo, by the same identity."""
        async with dial_agents(self.identity, endpoint, use_proxy=False) as channel:
            call: Call = channel.stream_stream(METHOD)()  # bytes: no serializers
            await call.write(b"up")
            await call.read()
            yield call
            call.cancel()

    def heartbeat(self, *, answered: bool) -> bytes:
        """Return a heartbeat with a measurement of each device."""
        usage = v1.NodeUsage(
            memory_used_bytes=3 * GIB,
            memory_available_bytes=200 * GIB,
            memory_instances_bytes=2 * GIB,
            cpu_ratio=0.25,
            devices=[
                v1.DeviceUsage(
                    device_id=each.device.device_id,
                    used_bytes=20 * GIB,
                    utilization_ratio=0.5,
                    temperature_celsius=61,
                    power_watts=300,
                    processes=[v1.DeviceProcess(pid=4711, used_bytes=20 * GIB, instance="instances/a-x7k2p")],
                )
                for each in self.objects.values()
            ],
        )
        usage.measure_time.GetCurrentTime()
        digest = "0" * 64 if answered else digest_over({name: each.digest for name, each in self.objects.items()})
        beat = v1.Heartbeat(observed_digest=digest, usage=usage)
        return v1.SessionRequest(session_epoch=self._epoch, heartbeat=beat).SerializeToString()

    def change(self) -> bytes:
        """Return an observed delta that is stored: one device's health has another reason."""
        self._changes += 1
        changed = device("0", f"{self._changes} errors")
        self.objects["device/0"] = changed
        observed = v1.ObservedState(objects=[changed])
        return v1.SessionRequest(session_epoch=self._epoch, observed=observed).SerializeToString()


def device(number: str, reason: str) -> v1.ObservedObject:
    """Return a device as an agent observes it."""
    body = v1.Device(
        device_id=number,
        vendor="made-up",
        framework="made-up",
        product="Made-up 80 GiB",
        index=int(number),
        memory=v1.DeviceMemory(kind=v1.MEMORY_KIND_DEDICATED, total_bytes=80 * GIB),
        health=v1.HEALTH_UNHEALTHY if reason else v1.HEALTH_HEALTHY,
        health_reasons=[reason] if reason else [],
    )
    return v1.ObservedObject(id=f"device/{number}", digest=digest_of(body), device=body)


KINDS = (
    Kind(
        name="heartbeat",
        meaning=f"heartbeat of a node with {DEVICES} devices",
        devices=DEVICES,
        window=lambda node: [node.heartbeat(answered=False)] * (WINDOW - 1) + [node.heartbeat(answered=True)],
        messages=500,
    ),
    Kind(
        name="cpu_heartbeat",
        meaning="heartbeat of a node without devices",
        devices=0,
        window=lambda node: [node.heartbeat(answered=False)] * (WINDOW - 1) + [node.heartbeat(answered=True)],
        messages=500,
    ),
    Kind(
        name="answered",
        meaning=f"heartbeat with {DEVICES} devices that is answered, one at a time",
        devices=DEVICES,
        window=lambda node: [node.heartbeat(answered=True)],
        messages=250,
    ),
    Kind(
        name="change",
        meaning="observed change of a device, decided upon and stored",
        devices=DEVICES,
        window=lambda node: [node.change() for _ in range(WINDOW)] + [node.heartbeat(answered=True)],
        messages=200,
    ),
)


def measure(nodes: int = NODES, rounds: int = ROUNDS, share: float = 1.0) -> Sequence[Figure]:
    """Measure a session's messages and the echo in turns, with a share of the messages that make good figures."""
    with tempfile.TemporaryDirectory(prefix="motorpool-bench-") as name:
        cluster = Cluster(Path(name))
        try:
            cluster.init()
            # All nodes of the benchmark enrol at once.
            os.environ["MOTORPOOL_CONTROLLER_ENROLMENTS_PER_SECOND"] = "100000"
            cluster.start_controller()
            return asyncio.run(_measure(cluster, nodes, rounds, share))
        except DemoError as error:
            raise BenchmarkError(str(error)) from error
        finally:
            cluster.stop()


async def _measure(cluster: Cluster, count: int, rounds: int, share: float) -> Sequence[Figure]:
    identities = await _enrolled(cluster, count)
    kinds = [replace(kind, messages=max(1, round(share * kind.messages))) for kind in KINDS]
    controller = cluster.pids()["controller"]
    sessions: dict[str, list[Cost]] = {kind.name: [] for kind in KINDS}
    echoes: dict[str, list[Cost]] = {kind.name: [] for kind in KINDS}
    with running_echo(cluster.controller_dir) as (echo, echo_endpoint):
        for number in range(rounds + 1):
            for kind in kinds:
                nodes = [Node(identity, kind.devices) for identity in identities]
                raw = [node.echo(echo_endpoint) for node in nodes]
                told = [node.session(f"127.0.0.1:{cluster.agents_port}") for node in nodes]
                of_echo = await _cost(echo, nodes, raw, kind, answers_all=True)
                of_session = await _cost(controller, nodes, told, kind, answers_all=False)
                _tell(f"{kind.name}: {of_session.cpu_us:.0f} µs, echo {of_echo.cpu_us:.0f} µs")
                # The first round warms up.
                if number:
                    echoes[kind.name].append(of_echo)
                    sessions[kind.name].append(of_session)
    return [
        figure for kind in KINDS for figure in _figures(kind, _middle(sessions[kind.name]), _middle(echoes[kind.name]))
    ]


async def _cost(
    server: int,
    nodes: Sequence[Node],
    opening: Sequence[AbstractAsyncContextManager[Call]],
    kind: Kind,
    *,
    answers_all: bool,
) -> Cost:
    """Return what each message took the server while all nodes sent theirs."""
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            calls = [await stack.enter_async_context(each) for each in opening]
            began, cpu_before = time.monotonic(), _cpu_seconds(server)
            sent = await asyncio.gather(
                *(_send(call, node, kind, answers_all=answers_all) for call, node in zip(calls, nodes, strict=True))
            )
            elapsed, cpu = time.monotonic() - began, _cpu_seconds(server) - cpu_before
    return Cost(cpu_us=1e6 * cpu / sum(sent), messages_per_second=sum(sent) / elapsed)


async def _send(call: Call, node: Node, kind: Kind, *, answers_all: bool) -> int:
    """Send windows until there were enough messages, each when the one before was answered; return how many."""
    sent = 0
    while sent < kind.messages:
        window = kind.window(node)
        for message in window:
            await call.write(message)
        if answers_all:
            for _ in window:
                await call.read()
        else:
            await _answer(call)
        sent += len(window)
    return sent


async def _answer(call: Call) -> None:
    while (await _read(call)).WhichOneof("message") != "resend_observed":
        pass


async def _read(call: Call) -> v1.SessionResponse:
    message = await call.read()
    if not isinstance(message, bytes):
        raise BenchmarkError("the controller ended a session")
    return v1.SessionResponse.FromString(message)


async def _enrolled(cluster: Cluster, count: int) -> list[Identity]:
    data_dir = ("--data-dir", str(cluster.controller_dir))
    token = run("motorpool-controller", "token", "join", "--uses", str(count), *data_dir, env=dict(os.environ)).strip()
    return [
        await enroll(
            IdentityStore(cluster.folder / f"node-{number}"),
            server=f"127.0.0.1:{cluster.public_port}",
            token=token,
            node_id=f"node-{number}",
            host=host_message(facts()),
            agent_version="0.1.0",
            use_proxy=False,
        )
        for number in range(count)
    ]


def _figures(kind: Kind, session: Cost, echo: Cost) -> Sequence[Figure]:
    return (
        Figure(
            key=f"{kind.name}_to_echo_cpu_ratio",
            value=round(session.cpu_us / echo.cpu_us, 2),
            meaning=f"{kind.meaning}: processor time of the controller / of a raw echo",
            aim=None if kind.name == "change" else 2,
        ),
        Figure(
            key=f"{kind.name}_to_echo_rate_ratio",
            value=round(session.messages_per_second / echo.messages_per_second, 2),
            meaning="the same, messages a second / echoes a second",
        ),
        Figure(key=f"{kind.name}_cpu_us", value=round(session.cpu_us), meaning="the same, processor time", bar="µs"),
        Figure(key=f"{kind.name}_echo_cpu_us", value=round(echo.cpu_us), meaning="raw echo of that size", bar="µs"),
        Figure(
            key=f"{kind.name}_messages_per_second",
            value=round(session.messages_per_second),
            meaning="the session's messages a second",
        ),
    )


def _middle(costs: Sequence[Cost]) -> Cost:
    return Cost(median([each.cpu_us for each in costs]), median([each.messages_per_second for each in costs]))


def _cpu_seconds(pid: int) -> float:
    # The process's own clock, as clock_getcpuclockid(3) numbers it: exact, where ticks are of 10 ms.
    return time.clock_gettime(~pid << 3 | 2)


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
