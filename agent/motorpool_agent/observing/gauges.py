"""The state of the node in figures, as Prometheus reads it."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from motorpool_agent import metrics
from motorpool_agent.inventory.plugin_status import PluginState, PluginStatus
from motorpool_agent.reconcile.observation import ExecutorStatus, ObservedInstance, State
from motorpool_sdk.accelerator import Device, Sample

LOOK_SECONDS = 5.0
"""How long an event loop that is busy is waited for; the figures of the node are left out then."""
DEVICES = 256
"""The most devices that are shown; a node has fewer, whatever a plugin says."""
PLUGINS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What there is at one moment, out of objects that are never changed."""

    instances: tuple[ObservedInstance, ...]
    executors: tuple[ExecutorStatus, ...]
    plugins: tuple[PluginStatus, ...]
    devices: Mapping[str, Device]
    usage: Mapping[str, Sample]
    in_session: bool


class Figures(Collector):
    """All that is exposed, but for the process's own. ``look`` is called on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], Look]) -> None:
        self._loop = loop
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; in Prometheus's thread."""
        yield InfoMetricFamily("motorpool_agent", "This agent.", {"version": version("motorpool-agent")})
        yield from _counted()
        found = self._looked()
        if found is not None:
            yield from _of_node(found)

    def _looked(self) -> Look | None:
        async def on_loop() -> Look:
            return self._look()

        looking = asyncio.run_coroutine_threadsafe(on_loop(), self._loop)
        try:
            return looking.result(LOOK_SECONDS)
        except (FutureTimeoutError, RuntimeError):  # it hangs, or has ended
            looking.cancel()
            return None


def registry_of(figures: Figures) -> CollectorRegistry:
    """Return the registry of those figures and the process's."""
    registry = CollectorRegistry()
    registry.register(figures)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def _counted() -> Iterator[Metric]:
    for counter in metrics.COUNTERS:
        family = CounterMetricFamily(counter.name, counter.documentation, labels=counter.labels)
        for values, total in counter.sums().items():
            family.add_metric(values, total)
        yield family
    for histogram in metrics.HISTOGRAMS:
        timed = HistogramMetricFamily(histogram.name, histogram.documentation, labels=histogram.labels)
        bounds = [*map(str, histogram.buckets), "+Inf"]
        for values, (*counts, seconds) in histogram.rows().items():
            so_far, buckets = 0.0, []
            for bound, count in zip(bounds, counts, strict=True):
                so_far += count
                buckets.append((bound, so_far))
            timed.add_metric(values, buckets=buckets, sum_value=seconds)
        yield timed


def _of_node(found: Look) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "motorpool_agent_session_open", "Whether the node is in session, 1 or 0.", value=float(found.in_session)
    )
    states = Tally(instance.state for instance in found.instances)
    instances = GaugeMetricFamily("motorpool_agent_instances", "Instances here.", labels=("state",))
    for state in State:
        instances.add_metric((state.value,), states[state])
    yield instances
    executors = GaugeMetricFamily(
        "motorpool_agent_executor_works", "Whether an executor works, 1 or 0.", labels=("executor",)
    )
    for executor in found.executors:
        executors.add_metric((executor.executor,), float(executor.works))
    yield executors
    plugins = GaugeMetricFamily(
        "motorpool_agent_plugin_state", "The state that a plugin is in: 1 for it.", labels=("plugin", "state")
    )
    for plugin in found.plugins[:PLUGINS]:
        for each in PluginState:
            plugins.add_metric((plugin.plugin_id, each.value), float(plugin.state is each))
    yield plugins
    yield from _of_devices(found)


def _of_devices(found: Look) -> Iterator[Metric]:
    labels = ("device", "vendor")
    total = GaugeMetricFamily("motorpool_agent_device_memory_bytes", "Memory of a device.", labels=labels)
    used = GaugeMetricFamily("motorpool_agent_device_memory_used_bytes", "Memory of a device in use.", labels=labels)
    busy = GaugeMetricFamily("motorpool_agent_device_utilization_ratio", "How busy a device is.", labels=labels)
    heat = GaugeMetricFamily("motorpool_agent_device_temperature_celsius", "How hot a device is.", labels=labels)
    for _, device in sorted(found.devices.items())[:DEVICES]:
        names = (device.device_id, device.vendor)
        sample = found.usage.get(device.device_id)
        # What nobody knows is left out: it is not zero.
        for family, value in (
            (total, device.memory_bytes),
            (used, None if sample is None else sample.used_bytes),
            (busy, None if sample is None else sample.utilization_ratio),
            (heat, None if sample is None else sample.temperature_celsius),
        ):
            if value is not None:
                family.add_metric(names, value)
    yield from (total, used, busy, heat)
