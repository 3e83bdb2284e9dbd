"""The state of the node in figures, as Prometheus reads it."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from motorpool_agent import metrics
from motorpool_agent.inventory.plugin_status import PluginState, PluginStatus
from motorpool_agent.reconcile.observation import ExecutorStatus, ObservedInstance, State
from motorpool_sdk.accelerator import Device, Sample
from motorpool_telemetry.figures import Collector, Metric, about, counted, gauge, gauges, looked

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
        yield about("motorpool_agent", "This agent.", "motorpool-agent")
        yield from counted(metrics.COUNTERS, metrics.HISTOGRAMS)
        found = looked(self._loop, self._look)
        if found is not None:
            yield from _of_node(found)


def _of_node(found: Look) -> Iterator[Metric]:
    yield gauge("motorpool_agent_session_open", "Whether the node is in session, 1 or 0.", float(found.in_session))
    states = Tally(instance.state for instance in found.instances)
    yield gauges(
        "motorpool_agent_instances", "Instances here.", ("state",), {(state.value,): states[state] for state in State}
    )
    yield gauges(
        "motorpool_agent_executor_works",
        "Whether an executor works, 1 or 0.",
        ("executor",),
        {(executor.executor,): float(executor.works) for executor in found.executors},
    )
    yield gauges(
        "motorpool_agent_plugin_state",
        "The state that a plugin is in: 1 for it.",
        ("plugin", "state"),
        {
            (plugin.plugin_id, each.value): float(plugin.state is each)
            for plugin in found.plugins[:PLUGINS]
            for each in PluginState
        },
    )
    yield from _of_devices(found)


def _of_devices(found: Look) -> Iterator[Metric]:
    shown = [device for _, device in sorted(found.devices.items())[:DEVICES]]

    def known(name: str, what: str, figures: Mapping[str, float | None]) -> Metric:
        # What nobody knows is left out: it is not zero.
        values: dict[tuple[str, ...], float] = {
            (device.device_id, device.vendor): figure
            for device in shown
            if (figure := figures.get(device.device_id)) is not None
        }
        return gauges(name, what, ("device", "vendor"), values)

    totals = {device.device_id: device.memory_bytes for device in shown}
    yield known("motorpool_agent_device_memory_bytes", "Memory of a device.", totals)
    for name, what, figure in _MEASURED:
        yield known(name, what, {device_id: figure(sample) for device_id, sample in found.usage.items()})


_MEASURED: tuple[tuple[str, str, Callable[[Sample], float | None]], ...] = (
    ("motorpool_agent_device_memory_used_bytes", "Memory of a device in use.", lambda sample: sample.used_bytes),
    ("motorpool_agent_device_utilization_ratio", "How busy a device is.", lambda sample: sample.utilization_ratio),
    ("motorpool_agent_device_temperature_celsius", "How hot a device is.", lambda sample: sample.temperature_celsius),
)
