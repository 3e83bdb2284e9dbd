import asyncio
from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest

from motorpool_telemetry import figures
from motorpool_telemetry.counting import Counter, Histogram
from motorpool_telemetry.figures import Collector, Metric, about, counted, gauge, gauges, looked, registry_of
from tests.tables import samples


class These(Collector):
    """Exposes what it is given."""

    def __init__(self, *metrics: Metric) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def served(*metrics: Metric) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return samples(generate_latest(registry_of(These(*metrics))).decode())


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def test_buckets_add_up() -> None:
    """
    Prometheus's buckets count all that took at most so long; the last one and the count are of all.
    """
    seconds = Histogram("x_seconds", "", "kind", buckets=(0.1, 1.0))
    for value in (0.05, 0.5, 0.5, 7.0):
        seconds.observe(value, "a")

    found = served(*counted([], [seconds]))

    assert [1, 3, 4] == [found["x_seconds_bucket", labelled(kind="a", le=bound)] for bound in ("0.1", "1.0", "+Inf")]
    assert (4, 8.05) == (found["x_seconds_count", labelled(kind="a")], found["x_seconds_sum", labelled(kind="a")])


def test_counters_are_totals() -> None:
    """
    A counter has its series by labels; one without labels is 0 from the first.
    """
    calls, nothing = Counter("x_calls", "", "code"), Counter("x_nothing", "")
    calls.add("OK", by=2)

    found = served(*counted([calls, nothing], []))

    assert (2, 0) == (found["x_calls_total", labelled(code="OK")], found["x_nothing_total", labelled()])


def test_gauges_and_the_version() -> None:
    """
    A figure stands by itself or by its labels' values, a program by the version of its distribution.
    """
    found = served(
        gauge("x_open", "", 1.0),
        gauges("x_devices", "", ("vendor", "health"), {("a", "good"): 2.0, ("b", "bad"): 3.0}),
        about("x", "", "motorpool-telemetry"),
    )

    assert 1 == found["x_open", labelled()]
    assert (2, 3) == (
        found["x_devices", labelled(vendor="a", health="good")],
        found["x_devices", labelled(vendor="b", health="bad")],
    )
    assert [1] == [value for (name, labels), value in found.items() if name == "x_info" and "version" in dict(labels)]


def test_the_process_is_told_of() -> None:
    """
    Beside ours stand the process's own figures.
    """
    assert served()["process_resident_memory_bytes", labelled()] > 0


async def test_look_is_taken_on_the_event_loop() -> None:
    """
    Whoever scrapes sees what stands between two steps of the loop.
    """
    loop = asyncio.get_running_loop()

    assert loop is await asyncio.to_thread(looked, loop, asyncio.get_running_loop)


async def test_loop_that_hangs_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Who asks waits for so long and no longer, and a loop that ended is not waited for.
    """
    monkeypatch.setattr(figures, "LOOK_SECONDS", 0.1)
    ended = asyncio.new_event_loop()
    ended.close()

    # Nothing is awaited: the loop does not go on.
    assert None is looked(asyncio.get_running_loop(), lambda: 1)
    assert None is looked(ended, lambda: 1)
