"""A controller with its real listeners, store and loop, and nodes that stand in its store without agents.

    with crowd(5_000, folder) as controller:      # a process of its own
        controller.target, controller.ca_pem, controller.token
        controller.echo                            # a unary echo in the same process

Half of the nodes' devices are taken, as in ``scheduling``. The nodes count as connected, have said what their memory
holds, and have answered about one model (``PATH``).
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.figures import BenchmarkError
from benchmarks.scheduling import DEVICES, standing
from motorpool_controller.config import PostgresUrl
from motorpool_controller.domain.workload import Deployment
from motorpool_controller.garbage import collect_young, spare
from motorpool_controller.scheduling.snapshot import Reading
from motorpool_controller.security.authority import Authority, key_pem
from motorpool_controller.serving import SWITCH_SECONDS
from motorpool_controller.store.bell import Bell
from motorpool_controller.store.store import Store, utc_now
from motorpool_controller.store.transaction import Transaction
from tests.controller.clusters import Cluster, running, settings
from tests.controller.fleets import PATH, spec, usage
from tests.controller.scheduling.accelerators import BACKENDS, QWEN3_32B, VENDORS, cards, machine

ECHO = "/motorpool.benchmarks.Raw/Same"
GIB = 80
LEASE_SECONDS = 3_600.0
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Controller:
    """Where a controller listens, and what a client needs."""

    target: str
    ca_pem: str
    token: str
    echo: str
    pid: int


@contextmanager
def crowd(nodes: int, folder: Path, database: PostgresUrl | None = None) -> Iterator[Controller]:
    """Run a controller with so many nodes as a process of its own; its data lies in the folder, or in a database."""
    where = [] if database is None else [database.url]
    command = [sys.executable, "-m", "benchmarks.crowd", str(nodes), str(folder), *where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = "" if process.stdout is None else process.stdout.readline()
            if not line:
                raise BenchmarkError("the controller ended before it listened; what it said stands above")
            yield Controller(**json.loads(line), pid=process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)


async def _serve(nodes: int, folder: Path, *where: str) -> None:
    url = PostgresUrl(where[0]) if where else None
    made = settings(folder / "data", lease_periods=LEASE_SECONDS, database_url=url)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with running(made, reconcile=False):
        pass
    async with await Store.open(made.database) as store:
        await _fill(store, nodes)
    async with running(made) as cluster:
        spare()
        sys.setswitchinterval(SWITCH_SECONDS)
        await _connect(cluster)
        admin = tomllib.loads((made.data_dir / "client.toml").read_text(encoding="utf-8"))
        async with _echo(cluster.authority) as echo, asyncio.TaskGroup() as tasks:
            collecting = tasks.create_task(collect_young())
            told = {"target": cluster.public_target, "ca_pem": cluster.authority.pem, "token": admin["token"]}
            print(json.dumps({**told, "echo": echo}), flush=True)
            await stop.wait()
            collecting.cancel()


@asynccontextmanager
async def _echo(authority: Authority) -> AsyncIterator[str]:
    """Serve a unary echo over the same TLS as the controller's, and yield where."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.sign_server(key.public_key(), ["127.0.0.1"], utc_now())
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_same)
    service, method = ECHO.strip("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key_pem(key), pem)]))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def _same(request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


async def _fill(store: Store, size: int) -> None:
    """Write the nodes, and what runs on them."""
    kinds = sorted(VENDORS)
    nodes = [machine(f"n{number:05}", cards(DEVICES, GIB, kinds[number % len(kinds)])) for number in range(size)]
    taken = [(node.name, device) for node in nodes for device in node.devices[::2]]
    instances = [standing(number, *place) for number, place in enumerate(taken)]
    counts = Counter(instance.deployment for instance in instances)

    def change(tx: Transaction) -> None:
        for name, profile in BACKENDS.items():
            tx.profiles.put(f"sha256:{name}", profile)
        for node in nodes:
            tx.nodes.put(node)
        for name, count in counts.items():
            tx.deployments.put(
                Deployment(name=name, uid=name, spec=replace(spec(), replicas=count), create_time=utc_now())
            )
        for instance in instances:
            tx.instances.put(instance)

    await store.commit(change)


async def _connect(cluster: Cluster) -> None:
    """Have the nodes as if their agents were in session, had measured, and had read the model."""
    live, view = cluster.live, cluster.store.view
    wake = Bell()
    held = Counter[str]()
    for instance in view.instances.values():
        if instance.placement is not None:
            for member in instance.placement.members:
                held[member.node] += 1
    now = utc_now()
    for name, node in view.nodes.items():
        live.connect(name, session_epoch=1, lease_seconds=LEASE_SECONDS, wake=wake, now=now)
        live.heartbeat(name, usage(node), now)
    await cluster.live_settled()
    live.ask([(name, PATH) for name in view.nodes], now)
    for name in view.nodes:
        wanted = live.wanted(name)
        for question in () if wanted is None else wanted.questions:
            live.answer(name, question.query_id, Reading(facts=QWEN3_32B), now)
    await cluster.live_settled()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
