"""Placements that are committed: through the API, the loop and the database of a whole controller.

A controller with 5,000 half-full nodes that stand in its store (``crowd.py``); this process is its client. Deployments
of a thousand replicas are created one after another, and a watch tells when every instance is placed: what a watch
tells is on disk. Then deployments of one replica, several calls under way at once, beside a unary echo of grpc.aio over
the same TLS in the controller's own process while the controller is idle. Then all of it again on PostgreSQL (fsync on,
on this machine), where that is installed.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import grpc
import psutil

from benchmarks.crowd import ECHO, Controller, crowd
from benchmarks.figures import BenchmarkError, Figure
from motorpool import v1
from tests.controller.fleets import PATH
from tests.postgresql import PostgresServer, programs

NODES = 5_000
DEPLOYMENTS, REPLICAS = 4, 1_000
SINGLES, AT_ONCE = 400, 16
TIMEOUT_SECONDS = 300.0
GIB = 1 << 30


def measure() -> Sequence[Figure]:
    """Measure both kinds of deployments, and them again on PostgreSQL where that is installed."""
    with tempfile.TemporaryDirectory(prefix="motorpool-bench-") as name:
        print(f"{NODES} nodes", file=sys.stderr, flush=True)
        with crowd(NODES, Path(name) / "sqlite") as controller:
            figures = asyncio.run(_measure(controller))
        if programs() is None:
            print("no PostgreSQL on this machine: its figures are left out", file=sys.stderr, flush=True)
            return figures
        print(f"{NODES} nodes, PostgreSQL", file=sys.stderr, flush=True)
        with (
            closing(PostgresServer(fsync=True)) as server,
            crowd(NODES, Path(name) / "postgresql", server.new()) as controller,
        ):
            others = asyncio.run(_measure(controller))
    return [*figures, *_beside(figures, others)]


def _beside(figures: Sequence[Figure], others: Sequence[Figure]) -> Iterator[Figure]:
    """Yield the figures of PostgreSQL that differ in kind, and their ratio to SQLite's."""
    here = {figure.key: figure.value for figure in figures}
    for figure in others:
        if figure.key.endswith("_per_second_5000_nodes"):
            name = figure.key.removesuffix("_5000_nodes")
            yield Figure(key=f"{name}_postgresql", value=figure.value, meaning=f"PostgreSQL: {figure.meaning}")
            yield Figure(
                key=f"{name}_postgresql_to_sqlite_ratio",
                value=round(figure.value / here[figure.key], 3),
                meaning="PostgreSQL / SQLite",
            )


async def _measure(controller: Controller) -> Sequence[Figure]:
    credentials = grpc.ssl_channel_credentials(controller.ca_pem.encode())
    async with (
        grpc.aio.secure_channel(controller.target, credentials) as channel,
        grpc.aio.secure_channel(controller.echo, credentials) as echo,
    ):
        client = _Client(channel, controller)
        await client.placed(["warm"], replicas=1)
        before = _processor_seconds(controller.pid)
        many = await client.placed([f"many-{number}" for number in range(DEPLOYMENTS)], replicas=REPLICAS)
        spent = _processor_seconds(controller.pid) - before
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = echo.unary_unary(ECHO)  # bytes: no serializers
        request = client.request("one-0000", 1).SerializeToString()
        raw = await _rate(lambda _: call(request), SINGLES * 10)
        accepted = await client.placed([f"one-{number:04}" for number in range(SINGLES)], replicas=1)
        return [
            Figure(
                key="committed_per_second_5000_nodes",
                value=round(DEPLOYMENTS * REPLICAS / many),
                meaning=f"{DEPLOYMENTS} deployments of {REPLICAS:,} replicas: placements on disk and told, a second",
                least=1_500,
            ),
            Figure(
                key="committed_per_processor_second_5000_nodes",
                value=round(DEPLOYMENTS * REPLICAS / spent),
                meaning="the same by second of the controller's processor time",
            ),
            Figure(
                key="single_replica_per_second_5000_nodes",
                value=round(SINGLES / accepted),
                meaning=f"{SINGLES} deployments of one replica, {AT_ONCE} calls at once: on disk and told, a second",
            ),
            Figure(
                key="unary_echo_per_second",
                value=round(raw),
                meaning=f"unary echo, {AT_ONCE} calls at once: answered a second",
            ),
            Figure(
                key="single_replica_to_unary_echo_ratio",
                value=round(SINGLES / accepted / raw, 4),
                meaning="deployments of one replica / echo",
            ),
        ]


class _Client:
    """Creates deployments, and waits until all their instances are placed."""

    def __init__(self, channel: grpc.aio.Channel, controller: Controller) -> None:
        self._metadata = (("authorization", f"Bearer {controller.token}"),)
        self._deployments = v1.DeploymentServiceStub(channel)
        self._instances = v1.InstanceServiceStub(channel)
        self._watches = v1.WatchServiceStub(channel)

    def request(self, name: str, replicas: int) -> v1.CreateDeploymentRequest:
        """Return the wish for instances that take nine tenths of one card of 80 GiB."""
        claim = v1.ClaimOverride(device_memory_bytes=60 * GIB)
        spec = v1.DeploymentSpec(model=v1.ModelSource(local_path=PATH), replicas=replicas, backend="vllm", claim=claim)
        return v1.CreateDeploymentRequest(deployment_id=name, deployment=v1.Deployment(spec=spec))

    async def placed(self, names: Sequence[str], *, replicas: int) -> float:
        """Create these, and return the seconds until a watch has told that all their instances are placed."""
        listed = await self._instances.ListInstances(v1.ListInstancesRequest(page_size=1), metadata=self._metadata)
        mine = {f"deployments/{name}" for name in names}
        begin = time.perf_counter()
        watching = asyncio.create_task(self._told(listed.resume_token, mine, len(names) * replicas))
        if replicas == 1:
            await _rate(lambda number: self._create(names[number], 1), len(names))
        else:
            for name in names:
                await self._create(name, replicas)
        await asyncio.wait_for(watching, TIMEOUT_SECONDS)
        return time.perf_counter() - begin

    async def _create(self, name: str, replicas: int) -> None:
        await self._deployments.CreateDeployment(self.request(name, replicas), metadata=self._metadata)

    async def _told(self, token: str, deployments: set[str], count: int) -> None:
        wanted = v1.WatchRequest(kinds=["instances"], resume_token=token)
        placed: set[str] = set()
        async for change in self._watches.Watch(wanted, metadata=self._metadata):
            instance = change.instance
            if instance.deployment in deployments and instance.placement.members:
                placed.add(instance.name)
                if len(placed) == count:
                    return
        raise BenchmarkError(f"the watch ended after {len(placed)} of {count} placements")


async def _rate(call: Callable[[int], Awaitable[object]], count: int) -> float:
    """Make so many calls, ``AT_ONCE`` under way at any time, and return how many were answered a second."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await call(number)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work())
    return count / (time.perf_counter() - begin)


def _processor_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
