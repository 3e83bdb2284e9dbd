"""What ``scale`` asks a controller through its API, and how long the answers take."""

from __future__ import annotations

import asyncio
import time
import tomllib
from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

import grpc

from benchmarks.figures import BenchmarkError
from benchmarks.scale_fleet import BACKEND, Controller
from motorpool import v1
from motorpool_cli.lists import PAGE_SIZE

CALL_SECONDS = 60.0
GIB = 1 << 30


class Client:
    """An admin of one controller."""

    def __init__(self, controller: Controller) -> None:
        admin = tomllib.loads(controller.client_file.read_text(encoding="utf-8"))
        self._metadata = (("authorization", f"Bearer {admin['token']}"),)
        self._channel = grpc.aio.secure_channel(
            f"127.0.0.1:{controller.public_port}",
            grpc.ssl_channel_credentials((controller.controller_dir / "ca.pem").read_bytes()),
            # A controller that is away is looked for as often as is wanted.
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_reconnect_backoff_ms", 250)],
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def answered(self, within_seconds: float) -> None:
        """Return when the controller answers."""
        stub = v1.ClusterServiceStub(self._channel)
        await stub.GetCluster(
            v1.GetClusterRequest(), metadata=self._metadata, timeout=within_seconds, wait_for_ready=True
        )

    async def revision(self) -> int:
        """Return how many changes were written so far."""
        stub = v1.ClusterServiceStub(self._channel)
        answer = await stub.GetCluster(v1.GetClusterRequest(), metadata=self._metadata, timeout=CALL_SECONDS)
        return answer.revision

    async def states(self) -> Counter[str]:
        """Return how many nodes are in each state."""
        stub = v1.NodeServiceStub(self._channel)
        found = Counter[str]()
        request = v1.ListNodesRequest(page_size=PAGE_SIZE)
        request.read_mask.paths.append("state")
        while True:
            answer = await stub.ListNodes(request, metadata=self._metadata, timeout=CALL_SECONDS)
            found.update(v1.NodeState.Name(node.state).removeprefix("NODE_STATE_") for node in answer.nodes)
            request.page_token = answer.next_page_token
            if not request.page_token:
                return found

    async def running(self) -> dict[str, str]:
        """Return the uids of the instances that run, by name."""
        stub = v1.InstanceServiceStub(self._channel)
        found: dict[str, str] = {}
        request = v1.ListInstancesRequest(page_size=PAGE_SIZE)
        request.read_mask.paths.extend(["state", "uid"])
        while True:
            answer = await stub.ListInstances(request, metadata=self._metadata, timeout=CALL_SECONDS)
            found |= {each.name: each.uid for each in answer.instances if each.state == v1.INSTANCE_STATE_RUNNING}
            request.page_token = answer.next_page_token
            if not request.page_token:
                return found

    async def placed(self, name: str, sizes: Sequence[int], within_seconds: float) -> float:
        """Create a deployment of so many replicas in each pool; return the seconds until a watch told of all places."""
        watch = v1.WatchServiceStub(self._channel).Watch(
            v1.WatchRequest(kinds=["instances"], resume_token=await self._now()), metadata=self._metadata
        )
        began = time.monotonic()
        telling = asyncio.create_task(_told(watch, f"deployments/{name}-", sum(sizes)))
        try:
            for number, size in enumerate(sizes):
                await self.deploy(f"{name}-{number}", size, number)
            async with asyncio.timeout(within_seconds):
                await telling
        except TimeoutError:
            raise BenchmarkError(f"{name}: not all were placed within {within_seconds:.0f} s") from None
        finally:
            telling.cancel()
            watch.cancel()
        return time.monotonic() - began

    async def deploy(self, name: str, replicas: int, pool: int) -> None:
        """Create a deployment of a pool's model, whose instances take three quarters of a card each."""
        spec = v1.DeploymentSpec(
            model=v1.ModelSource(local_path=f"/models/of-p{pool}"),
            replicas=replicas,
            backend=BACKEND,
            claim=v1.ClaimOverride(device_memory_bytes=60 * GIB),
            node_selector=v1.NodeSelector(match_labels={"pool": f"p{pool}"}),
        )
        request = v1.CreateDeploymentRequest(deployment_id=name, deployment=v1.Deployment(spec=spec))
        stub = v1.DeploymentServiceStub(self._channel)
        await stub.CreateDeployment(request, metadata=self._metadata, timeout=CALL_SECONDS)

    async def read_nodes(self, count: int) -> list[float]:
        """Return the milliseconds that pages of nodes took, one after another from the first to the last and again."""
        return await self._read_pages(
            "/motorpool.v1.NodeService/ListNodes", v1.ListNodesRequest, v1.ListNodesResponse, count
        )

    async def read_instances(self, count: int) -> list[float]:
        """Return the milliseconds that pages of instances took."""
        return await self._read_pages(
            "/motorpool.v1.InstanceService/ListInstances", v1.ListInstancesRequest, v1.ListInstancesResponse, count
        )

    async def deploys(self, count: int) -> tuple[list[float], list[float]]:
        """Return the milliseconds until deployments of one replica were answered, and until a watch told places."""
        answered, told = [], []
        for number in range(count):
            watch = v1.WatchServiceStub(self._channel).Watch(
                v1.WatchRequest(kinds=["instances"], resume_token=await self._now()), metadata=self._metadata
            )
            telling = asyncio.create_task(_told(watch, f"deployments/one-{number:04}", 1))
            began = time.monotonic()
            await self.deploy(f"one-{number:04}", 1, pool=0)
            answered.append(1e3 * (time.monotonic() - began))
            async with asyncio.timeout(CALL_SECONDS):
                await telling
            told.append(1e3 * (time.monotonic() - began))
            watch.cancel()
        return sorted(answered), sorted(told)

    async def _now(self) -> str:
        stub = v1.InstanceServiceStub(self._channel)
        answer = await stub.ListInstances(v1.ListInstancesRequest(page_size=1), metadata=self._metadata)
        return answer.resume_token

    async def _read_pages(
        self,
        method: str,
        asked: type[v1.ListNodesRequest | v1.ListInstancesRequest],
        told: type[v1.ListNodesResponse | v1.ListInstancesResponse],
        count: int,
    ) -> list[float]:
        # Bytes: what a reader does with an answer is the reader's.
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(method)
        request = asked(page_size=PAGE_SIZE)
        times: list[float] = []
        while len(times) < count:
            given = request.SerializeToString()
            began = time.monotonic()
            answer = await call(given, metadata=self._metadata, timeout=CALL_SECONDS)
            times.append(1e3 * (time.monotonic() - began))
            request.page_token = told.FromString(answer).next_page_token
        return sorted(times)


async def _told(watch: AsyncIterable[v1.WatchResponse], deployments: str, count: int) -> None:
    placed: set[str] = set()
    async for change in watch:
        if change.instance.deployment.startswith(deployments) and change.instance.placement.members:
            placed.add(change.instance.name)
            if len(placed) == count:
                return
    raise BenchmarkError(f"the watch ended after {len(placed)} of {count} placements")


async def until(
    what: str, condition: Callable[[], Awaitable[bool]], seconds: float, pause_seconds: float = 0.5
) -> None:
    """Return when the condition holds; raise where it does not in time."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(pause_seconds)
