"""What Prometheus reads of an agent, and what its page says of it."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from motorpool_agent import metrics
from motorpool_agent.observing.gauges import DEVICES
from motorpool_agent.observing.serving import observed
from motorpool_agent.reconcile.observation import ExecutorStatus, ObservedInstance, State
from motorpool_sdk.accelerator import Sample
from motorpool_telemetry import figures, pulse
from motorpool_telemetry.errors import TelemetryError
from motorpool_telemetry.exposition import Exposition
from tests.agent.session.fakes import DEVICE, FixedPlugins, RecordingInstances
from tests.tables import documented, exposed, samples

PAGE = Path(__file__).parents[3] / "agent" / "OBSERVING.md"


class MeasuredPlugins(FixedPlugins):
    """Has measured its one device; the other one's figures nobody knows."""

    def usage(self) -> Mapping[str, Sample]:
        return {
            "GPU-1": Sample(device_id="GPU-1", used_bytes=77, utilization_ratio=0.5, temperature_celsius=61.0),
            "GPU-2": Sample(device_id="GPU-2"),
        }


@dataclass
class Lasting:
    """A session as a test wants it."""

    is_open: bool = True
    stands: str = ""

    def stalled(self) -> str:
        return self.stands


def instances() -> RecordingInstances:
    made = RecordingInstances(executor_by_name={"process": ExecutorStatus(executor="process", works=True)})
    for number, state in enumerate([State.RUNNING, State.RUNNING, State.ERROR]):
        made.running[str(number)] = ObservedInstance(
            assignment_id=str(number), instance=f"instances/x-{number}", generation=1, state=state
        )
    return made


@asynccontextmanager
async def observing(
    session: Lasting | None = None, plugins: MeasuredPlugins | None = None
) -> AsyncIterator[Exposition]:
    async with observed("127.0.0.1:0", session or Lasting(), instances(), plugins or MeasuredPlugins()) as exposition:
        assert exposition is not None
        yield exposition


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


async def test_page_tells_of_every_metric_and_of_no_other() -> None:
    """
    Each metric that is served stands in the page with its type and labels, and each in the page is served.
    """
    for counter in metrics.COUNTERS:
        counter.add(*("x" for _ in counter.labels))
    for histogram in metrics.HISTOGRAMS:
        histogram.observe(0.1, *("x" for _ in histogram.labels))

    async with observing() as exposition:
        served = exposed(await scraped(exposition))

    assert documented(PAGE) == served


async def test_figures_are_those_of_the_node() -> None:
    """
    Instances by state, plugins, devices and the session are as the agent knows them; what nobody knows is left out.
    """
    plugins = MeasuredPlugins()
    plugins.device_by_id["GPU-2"] = replace(DEVICE, device_id="GPU-2", memory_bytes=None)
    async with observing(plugins=plugins) as exposition:
        found = samples(await scraped(exposition))

    def value(name: str, **labels: str) -> float | None:
        return found.get((f"motorpool_agent_{name}", frozenset(labels.items())))

    assert (2, 1, 0) == tuple(value("instances", state=state) for state in ("running", "error", "starting"))
    first, second = {"device": "GPU-1", "vendor": "nvidia"}, {"device": "GPU-2", "vendor": "nvidia"}
    assert (1 << 30, 77, 0.5, 61) == (
        value("device_memory_bytes", **first),
        value("device_memory_used_bytes", **first),
        value("device_utilization_ratio", **first),
        value("device_temperature_celsius", **first),
    )
    assert (None, None) == (value("device_memory_bytes", **second), value("device_memory_used_bytes", **second))
    assert 1 == value("plugin_state", plugin="llama_cpp", state="ready")
    assert (1, 1) == (value("session_open"), value("executor_works", executor="process"))


async def test_devices_are_bounded() -> None:
    """
    A plugin that lists devices without end makes no more series than the page says.
    """
    plugins = MeasuredPlugins()
    for number in range(2 * DEVICES):
        plugins.device_by_id[f"X-{number}"] = replace(DEVICE, device_id=f"X-{number}")
    async with observing(plugins=plugins) as exposition:
        found = samples(await scraped(exposition))

    assert DEVICES == sum(1 for name, _ in found if name == "motorpool_agent_device_memory_bytes")


async def test_probes() -> None:
    """
    Alive while heartbeats and tries at a session go on, ready while in session; what is wrong is said.
    """
    session = Lasting()
    async with observing(session) as exposition:
        well = [await ask(exposition, path) for path in ("/healthz", "/readyz")]
        session.is_open = False
        away = [await ask(exposition, path) for path in ("/healthz", "/readyz")]
        session.stands = "no heartbeat and no attempt at a session for 400 s"
        stalled = await ask(exposition, "/healthz")

    assert [(200, "ok\n")] * 2 == well
    assert [(200, "ok\n"), (503, "the node is not in session\n")] == away
    assert (503, f"{session.stands}\n") == stalled


async def test_loop_that_hangs_is_told_by_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While nothing on the event loop goes on, probes say so, and metrics come without the node's figures.
    """
    monkeypatch.setattr(figures, "LOOK_SECONDS", 0.1)
    async with observing() as exposition:
        # Nothing is awaited: the loop does not go on.
        monkeypatch.setattr(pulse, "STALLED_SECONDS", 0.0)
        status, why = answer(exposition, "/healthz")
        _, text = answer(exposition, "/metrics")

    assert (503, True) == (status, "the event loop has not gone on for" in why)
    assert "motorpool_agent_sessions_opened_total" in exposed(text)
    assert "motorpool_agent_instances" not in exposed(text)


async def test_taken_address_is_told() -> None:
    """
    Where it cannot listen, it says where, by which setting, and what to do.
    """
    async with observing() as exposition:
        with pytest.raises(TelemetryError, match=r"cannot listen on 127\.0\.0\.1:\d+ \(metrics_listen\)"):
            async with observed(exposition.address, Lasting(), instances(), MeasuredPlugins()):
                pass


async def test_nothing_is_served_by_default() -> None:
    """
    Without an address nothing listens.
    """
    async with observed(None, Lasting(), instances(), MeasuredPlugins()) as exposition:
        assert exposition is None
