"""Metrics and probes over real sockets, of a program that this test is."""

from __future__ import annotations

import asyncio
import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

import pytest
from prometheus_client import CollectorRegistry

from motorpool_telemetry import pulse
from motorpool_telemetry.counting import Counter, Histogram
from motorpool_telemetry.errors import TelemetryError
from motorpool_telemetry.exposition import Exposition, exposed
from motorpool_telemetry.figures import Collector, Metric, counted, registry_of
from tests.tables import samples


class Counting(Collector):
    """Exposes what one counter counted."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def collect(self) -> Iterator[Metric]:
        yield from counted([self._counter], [])


def well() -> str:
    return ""


def exposing(
    listen: str = "127.0.0.1:0",
    registry: CollectorRegistry | None = None,
    *,
    alive: Callable[[], str] = well,
    ready: Callable[[], str] = well,
    lag: Histogram | None = None,
) -> AbstractAsyncContextManager[Exposition]:
    return exposed(
        listen,
        registry or CollectorRegistry(),
        lag=lag or Histogram("lag", "", buckets=(1.0,)),
        alive=alive,
        ready=ready,
    )


def answer(exposition: Exposition, path: str, method: str = "GET", accept: str = "*/*") -> tuple[int, str, str]:
    """Return the status, the type and the text."""
    asked = urllib.request.Request(f"http://{exposition.address}{path}", headers={"Accept": accept}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=30) as response:
            return response.status, response.headers["Content-Type"], response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


async def test_what_was_counted_is_served_as_it_stands_now() -> None:
    """
    Each scrape has the present sums, in Prometheus's text or in OpenMetrics, whichever is asked for.
    """
    counter = Counter("motorpool_tests", "Tests.", "result")
    async with exposing(registry=registry_of(Counting(counter))) as exposition:
        counter.add("passed")
        _, kind, text = await asyncio.to_thread(answer, exposition, "/metrics")
        counter.add("passed", by=2)
        _, other, later = await asyncio.to_thread(
            answer, exposition, "/metrics", accept="application/openmetrics-text; version=1.0.0"
        )

    assert 1 == samples(text)["motorpool_tests_total", frozenset({("result", "passed")})]
    assert 'motorpool_tests_total{result="passed"} 3.0' in later
    assert kind.startswith("text/plain")
    assert other.startswith("application/openmetrics-text")


async def test_probes_say_what_is_wrong() -> None:
    """
    200 and ok, or 503 and why; whatever else is asked for is not there, and what there is is said.
    """
    async with exposing(ready=lambda: "no leader") as exposition:
        alive = await asyncio.to_thread(answer, exposition, "/healthz")
        ready = await asyncio.to_thread(answer, exposition, "/readyz?verbose=1")
        head = await asyncio.to_thread(answer, exposition, "/readyz", "HEAD")
        nothing = await asyncio.to_thread(answer, exposition, "/config")

    assert (200, "ok\n") == (alive[0], alive[2])
    assert (503, "no leader\n") == (ready[0], ready[2])
    assert (503, "") == (head[0], head[2])
    assert (404, "there is /metrics, /healthz and /readyz\n") == (nothing[0], nothing[2])


async def test_loop_is_looked_at() -> None:
    """
    While it serves, how late the event loop was is counted.
    """
    observed: asyncio.Queue[float] = asyncio.Queue()

    class Lag(Histogram):
        def observe(self, seconds: float, *values: str) -> None:
            super().observe(seconds, *values)
            observed.put_nowait(seconds)

    lag = Lag("lag", "", buckets=(1.0,))
    async with exposing(lag=lag), asyncio.timeout(30):
        first = await observed.get()

    assert first == lag.rows()[()][-1] >= 0


async def test_loop_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Both probes say that the loop does not go on, before they ask anything else.
    """
    async with exposing(alive=lambda: "something else") as exposition:
        monkeypatch.setattr(pulse, "STALLED_SECONDS", 0.0)
        # Nothing is awaited: the loop does not go on.
        told = [answer(exposition, path) for path in ("/healthz", "/readyz")]

    assert [503, 503] == [status for status, _, _ in told]
    assert all("the event loop has not gone on for" in why for _, _, why in told)


async def test_fault_of_a_probe_is_logged_and_costs_its_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    """
    A fault of ours is written down with its traceback; the next one who asks is answered.
    """

    def broken() -> str:
        raise LookupError("a fault of ours")

    async with exposing(ready=broken) as exposition:
        with caplog.at_level(logging.ERROR), pytest.raises(OSError, match="closed"):
            await asyncio.to_thread(answer, exposition, "/readyz")
        status, _, _ = await asyncio.to_thread(answer, exposition, "/healthz")

    assert 200 == status
    assert ["a fault of ours"] == [str(record.exc_info[1]) for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
async def test_address_is_told_with_its_port(listen: str) -> None:
    """
    Port 0 takes a free one, of either family; the address says which, and can be listened on by nobody else.
    """
    async with exposing(listen) as exposition:
        host, _, port = exposition.address.rpartition(":")
        with pytest.raises(TelemetryError, match=r"cannot listen on .*:\d+ \(metrics_listen\): .*give another address"):
            async with exposing(exposition.address):
                pass

    assert listen.removesuffix(":0") == host
    assert int(port) > 0


async def test_silent_connections_do_not_keep_others_out_for_good() -> None:
    """
    As many as there may be are kept, one more is closed; when one of them leaves, there is room again.
    """
    async with exposing() as exposition:
        host, port = "127.0.0.1", exposition.server_port
        silent = [await asyncio.open_connection(host, port) for _ in range(8)]
        async with asyncio.timeout(30):
            while True:  # until all of them have their threads
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
                try:
                    refused = not await reader.read(1)
                except ConnectionError:
                    refused = True
                writer.close()
                if refused:
                    break
            for _, writer in silent:
                writer.close()
            while not await _answers(host, port):
                pass


async def _answers(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
    try:
        return bool(await reader.read(1))
    except ConnectionError:
        return False
    finally:
        writer.close()
