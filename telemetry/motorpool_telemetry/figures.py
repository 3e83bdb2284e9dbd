"""What is counted and looked at, as Prometheus's client knows it. Imported where metrics are served: it is heavy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TypeVar

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from motorpool_telemetry.counting import Counter, Histogram

__all__ = ["Collector", "Metric", "about", "counted", "gauge", "gauges", "looked", "registry_of"]

LOOK_SECONDS = 5.0
"""How long an event loop that is busy is waited for; what would be seen there is left out then."""

Look = TypeVar("Look")


def registry_of(collector: Collector) -> CollectorRegistry:
    """Return the registry of what one collects, and of the process's own."""
    registry = CollectorRegistry()
    registry.register(collector)
    for each in (ProcessCollector, PlatformCollector, GCCollector):
        each(registry=registry)
    return registry


def looked(loop: asyncio.AbstractEventLoop, look: Callable[[], Look]) -> Look | None:
    """Return what is seen from the event loop, None where it hangs or has ended; to be called in another thread."""

    async def on_loop() -> Look:
        return look()

    looking = on_loop()
    try:
        seen = asyncio.run_coroutine_threadsafe(looking, loop)
    except RuntimeError:  # it has ended
        looking.close()
        return None
    try:
        return seen.result(LOOK_SECONDS)
    except TimeoutError:
        seen.cancel()
        return None


def about(name: str, what: str, distribution: str) -> Metric:
    """Return which version of a program this is."""
    return InfoMetricFamily(name, what, {"version": version(distribution)})


def counted(counters: Iterable[Counter], histograms: Iterable[Histogram]) -> Iterator[Metric]:
    """Yield what has been counted so far."""
    for counter in counters:
        family = CounterMetricFamily(counter.name, counter.documentation, labels=counter.labels)
        for values, total in counter.sums().items():
            family.add_metric(values, total)
        yield family
    for histogram in histograms:
        timed = HistogramMetricFamily(histogram.name, histogram.documentation, labels=histogram.labels)
        bounds = [*map(str, histogram.buckets), "+Inf"]
        for values, (*counts, seconds) in histogram.rows().items():
            so_far, buckets = 0.0, []
            for bound, count in zip(bounds, counts, strict=True):
                so_far += count
                buckets.append((bound, so_far))
            timed.add_metric(values, buckets=buckets, sum_value=seconds)
        yield timed


def gauge(name: str, what: str, value: float) -> Metric:
    """Return one figure."""
    return GaugeMetricFamily(name, what, value=value)


def gauges(name: str, what: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """Return figures by their labels' values."""
    family = GaugeMetricFamily(name, what, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
