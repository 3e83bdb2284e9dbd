"""What Prometheus reads of a controller that works, and what its page says of it."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from motorpool import v1
from motorpool_controller import metrics
from motorpool_controller.config import Address
from motorpool_controller.observing import observed
from motorpool_controller.services.gauges import VENDORS
from motorpool_controller.services.health import Health
from motorpool_telemetry import figures, pulse
from motorpool_telemetry.errors import TelemetryError
from motorpool_telemetry.exposition import Exposition
from tests.controller.agent_client import FACTS, Agent
from tests.controller.clusters import Cluster, running, settings
from tests.tables import documented, exposed, samples

PAGE = Path(__file__).parents[2] / "controller" / "OBSERVING.md"


@pytest.fixture(name="cluster")
async def _cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(settings(tmp_path / "data")) as cluster:
        yield cluster


@pytest.fixture(name="agent")
def _agent(cluster: Cluster) -> Agent:
    return Agent(cluster)


def health_of(cluster: Cluster) -> Health:
    health = Health([])
    health.store = cluster.store
    return health


@asynccontextmanager
async def observing(cluster: Cluster, health: Health | None = None) -> AsyncIterator[Exposition]:
    made = replace(cluster.settings, metrics_listen=Address("127.0.0.1", 0))
    async with observed(made, health or health_of(cluster)) as seen:
        assert seen.exposition is not None
        async with seen.leading(cluster.store, cluster.live):
            yield seen.exposition


def answer(exposition: Exposition, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{exposition.address}{path}", timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def ask(exposition: Exposition, path: str) -> tuple[int, str]:
    return await asyncio.to_thread(answer, exposition, path)


async def scraped(exposition: Exposition) -> str:
    status, text = await ask(exposition, "/metrics")
    assert 200 == status, text
    return text


def accelerator(number: int, vendor: str) -> v1.Device:
    return v1.Device(
        device_id=f"GPU-{number}",
        vendor=vendor,
        framework="cuda",
        memory=v1.DeviceMemory(kind=v1.MEMORY_KIND_DEDICATED, total_bytes=8 << 30),
        health=v1.HEALTH_HEALTHY,
    )


async def test_page_tells_of_every_metric_and_of_no_other(cluster: Cluster, agent: Agent) -> None:
    """
    Each metric that is served stands in the page with its type and labels, and each in the page is served.
    """
    agent.show(accelerator(0, "nvidia"))
    session = await agent.joined()
    await cluster.deploy("chat")
    await session.answer(FACTS)
    await cluster.until(lambda: "INSTANCE_PLACED" in cluster.event_reasons() or None)
    metrics.BUSY.add("read")
    metrics.REFUSALS.add("DEVICE_MEMORY_SHORT")

    async with observing(cluster) as exposition:
        served = exposed(await scraped(exposition))

    assert documented(PAGE) == served


async def test_figures_are_those_of_the_fleet(cluster: Cluster, agent: Agent) -> None:
    """
    Nodes, sessions, instances by state, memory and claims by vendor are what the controller knows.
    """
    agent.show(accelerator(0, "nvidia"), accelerator(1, "nvidia"))
    session = await agent.joined()
    placed = samples_of(metrics.PLACEMENTS.sums())
    await cluster.deploy("chat")
    await session.answer(FACTS)
    await cluster.until(lambda: "INSTANCE_PLACED" in cluster.event_reasons() or None)

    async with observing(cluster) as exposition:
        found = samples(await scraped(exposition))

    def value(name: str, **labels: str) -> float:
        return found[f"motorpool_controller_{name}", frozenset(labels.items())]

    (instance,) = cluster.store.view.instances.values()
    assert instance.placement is not None
    assert (1, 0, 1) == (value("nodes", state="ready"), value("nodes", state="unreachable"), value("sessions"))
    assert 1 == value("instances", state=instance.state.value)
    assert (2, 16 << 30) == (
        value("devices", vendor="nvidia", health="healthy"),
        value("device_memory_bytes", vendor="nvidia"),
    )
    claimed = sum(member.claim.memory_bytes for member in instance.placement.members)
    assert claimed == value("host_memory_claimed_bytes") > 0
    assert placed + 1 == value("placements_total")
    assert (1, 1) == (value("leader"), value("store_writable"))
    assert cluster.store.view.revision == value("store_revision")
    assert value("heartbeats_total") >= 1
    assert value("calls_total", method="motorpool.v1.DeploymentService/CreateDeployment", code="OK") >= 1


def samples_of(sums: object) -> float:
    assert isinstance(sums, dict)
    return float(sums[()])


async def test_strangers_make_no_series(cluster: Cluster) -> None:
    """
    Whatever methods callers invent, they are one series; so are calls that are turned away, by method.
    """
    credentials = grpc.ssl_channel_credentials(cluster.authority.pem.encode())
    async with observing(cluster) as exposition:
        await scraped(exposition)
        before = len(metrics.CALLS.sums())
        async with grpc.aio.secure_channel(cluster.public_target, credentials) as channel:
            for number in range(40):
                call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/evil.{number}/Do{number}")
                for metadata in ((), cluster.admin):
                    with pytest.raises(grpc.RpcError):
                        await call(b"", metadata=metadata)
        text = await scraped(exposition)

    assert len(metrics.CALLS.sums()) <= before + 2
    assert "evil" not in text
    found = samples(text)
    name = "motorpool_controller_calls_total"
    assert found[name, frozenset({("method", "unknown"), ("code", "UNIMPLEMENTED")})] >= 40
    assert found[name, frozenset({("method", "unknown"), ("code", "UNAUTHENTICATED")})] >= 40


async def test_vendors_are_bounded(cluster: Cluster, agent: Agent) -> None:
    """
    An agent that reports a vendor a device makes no more series than a page names; nothing is lost from the sums.
    """
    agent.show(*(accelerator(number, f"vendor-{number}") for number in range(3 * VENDORS)))
    await agent.joined()
    await cluster.until(lambda: len(cluster.store.view.nodes["nodes/a"].devices) == 3 * VENDORS or None)

    async with observing(cluster) as exposition:
        found = samples(await scraped(exposition))

    memory = [value for (name, _), value in found.items() if name == "motorpool_controller_device_memory_bytes"]
    assert (VENDORS + 1, 3 * VENDORS * (8 << 30)) == (len(memory), sum(memory))


async def test_probes(cluster: Cluster) -> None:
    """
    Alive while the loop and deciding go on, ready while changes are taken; what is wrong is said.
    """
    health = health_of(cluster)
    async with observing(cluster, health) as exposition:
        well = [await ask(exposition, path) for path in ("/healthz", "/readyz", "/readyz?verbose=1")]
        health.undecided = lambda: "a decision was begun 400 s ago"
        undecided = [await ask(exposition, path) for path in ("/healthz", "/readyz")]
        health.undecided = lambda: ""
        health.stop()
        stopping = await ask(exposition, "/readyz")

    assert [(200, "ok\n")] * 3 == well
    assert [(503, "a decision was begun 400 s ago\n"), (200, "ok\n")] == undecided
    assert (503, "the controller is stopping\n") == stopping


async def test_loop_that_hangs_is_told_by_the_thread(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While nothing on the event loop goes on, probes say so, and metrics come without the fleet's figures.
    """
    monkeypatch.setattr(figures, "LOOK_SECONDS", 0.1)
    async with observing(cluster) as exposition:
        assert "motorpool_controller_nodes" in exposed(await scraped(exposition))
        # From here on nothing is awaited: the loop does not go on.
        monkeypatch.setattr(pulse, "STALLED_SECONDS", 0.0)
        status, why = answer(exposition, "/healthz")
        _, text = answer(exposition, "/metrics")

    assert (503, True) == (status, "the event loop has not gone on for" in why)
    assert "motorpool_controller_heartbeats_total" in exposed(text)
    assert "motorpool_controller_nodes" not in exposed(text)


async def test_taken_address_is_told(cluster: Cluster) -> None:
    """
    Where it cannot listen, it says where, by which setting, and what to do.
    """
    async with observing(cluster) as exposition:
        host, _, port = exposition.address.rpartition(":")
        made = replace(cluster.settings, metrics_listen=Address(host, int(port)))
        with pytest.raises(TelemetryError, match=r"cannot listen on 127\.0\.0\.1:\d+ \(metrics_listen\)"):
            async with observed(made, health_of(cluster)):
                pass


async def test_nothing_is_served_by_default(cluster: Cluster, tmp_path: Path) -> None:
    """
    Without the setting nothing listens.
    """
    assert settings(tmp_path).metrics_listen is None
    async with observed(cluster.settings, health_of(cluster)) as seen, seen.leading(cluster.store, cluster.live):
        assert seen.exposition is None


async def test_one_that_stands_by_is_alive_and_not_ready(cluster: Cluster) -> None:
    """
    It shows itself without a fleet, before it leads and after; while it leads it is ready.
    """
    made = replace(cluster.settings, metrics_listen=Address("127.0.0.1", 0))
    health = Health([])
    async with observed(made, health) as seen:
        assert seen.exposition is not None
        before = await ask(seen.exposition, "/readyz")
        alive = await ask(seen.exposition, "/healthz")
        standing = await scraped(seen.exposition)
        health.store = cluster.store
        async with seen.leading(cluster.store, cluster.live):
            leading = await ask(seen.exposition, "/readyz")
            shown = await scraped(seen.exposition)
        after = await scraped(seen.exposition)

    assert [(503, "it stands by\n"), (200, "ok\n"), (200, "ok\n")] == [before, alive, leading]
    name = ("motorpool_controller_leader", frozenset[tuple[str, str]]())
    assert [0, 1, 0] == [samples(text)[name] for text in (standing, shown, after)]
    fleets = [("motorpool_controller_nodes" in exposed(text)) for text in (standing, shown, after)]
    assert [False, True, False] == fleets
