"""The state of the fleet in figures, as Prometheus reads it: worked out beside the event loop from one look at it."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from motorpool_controller import metrics
from motorpool_controller.domain.fleet import Health, Node, NodeState, NodeUsage
from motorpool_controller.domain.workload import Instance, InstanceState
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store
from motorpool_telemetry.counting import OTHER
from motorpool_telemetry.figures import Collector, Metric, about, counted, gauge, gauges, looked

VENDORS = 20
"""The most vendors that are told apart; those with the fewest devices are `other`."""


@dataclass(frozen=True, slots=True)
class Look:
    """What there is at one moment. Rows are never changed: they may be read in any thread."""

    nodes: tuple[Node, ...]
    instances: tuple[Instance, ...]
    deployments: int
    suspects: frozenset[str]
    usage: Mapping[str, NodeUsage]
    sessions: int
    revision: int
    epoch: int
    waiting: Mapping[str, int]


def look_at(store: Store, live: Live) -> Look:
    """Return what there is; to be called on the event loop."""
    view = store.view
    ready = {name for name, node in view.nodes.items() if node.state is NodeState.READY}
    return Look(
        nodes=tuple(view.nodes.values()),
        instances=tuple(view.instances.values()),
        deployments=len(view.deployments),
        suspects=frozenset(live.suspects(view.nodes) & ready),
        usage=dict(live.settled_usage),
        sessions=len(live.connected()),
        revision=view.revision,
        epoch=view.controller_epoch,
        waiting=store.waiting,
    )


class Figures(Collector):
    """All that is exposed, but for the process's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, writable: Callable[[], bool]) -> None:
        self._loop = loop
        self._writable = writable
        self.look: Callable[[], Look] | None = None
        """Returns what there is, where this controller leads; None where it does not."""

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; in Prometheus's thread."""
        yield about("motorpool_controller", "This controller.", "motorpool-controller")
        yield from counted(metrics.COUNTERS, metrics.HISTOGRAMS)
        yield gauge("motorpool_controller_leader", "Whether it decides, 1 or 0.", float(self.look is not None))
        yield gauge(
            "motorpool_controller_store_writable", "Whether changes can be written, 1 or 0.", float(self._writable())
        )
        look = self.look
        found = None if look is None else looked(self._loop, look)
        if found is not None:
            yield from _of_fleet(found)


def _of_fleet(found: Look) -> Iterator[Metric]:
    yield gauge("motorpool_controller_epoch", "How often a controller took the database over.", found.epoch)
    yield gauge("motorpool_controller_store_revision", "The last revision that was written.", found.revision)
    yield _by("motorpool_controller_store_waiting", "Changes that wait for the database.", "lane", found.waiting)
    yield gauge("motorpool_controller_sessions", "Agents in session.", found.sessions)
    yield gauge("motorpool_controller_deployments", "Deployments.", found.deployments)
    states = Tally((NodeState.SUSPECT if node.name in found.suspects else node.state).value for node in found.nodes)
    yield _by(
        "motorpool_controller_nodes", "Nodes.", "state", {state.value: states[state.value] for state in NodeState}
    )
    cordoned = sum(1 for node in found.nodes if node.cordoned)
    yield gauge("motorpool_controller_nodes_cordoned", "Nodes that take nothing new.", cordoned)
    kinds = Tally(instance.state.value for instance in found.instances)
    yield _by(
        "motorpool_controller_instances",
        "Instances.",
        "state",
        {state.value: kinds[state.value] for state in InstanceState},
    )
    yield from _of_devices(found)
    yield from _of_hosts(found)


def _of_devices(found: Look) -> Iterator[Metric]:
    devices: Tally[tuple[str, str]] = Tally()
    total, claimed, used, unknown = Tally[str](), Tally[str](), Tally[str](), Tally[str]()
    names = _vendors(found.nodes)
    vendor_of: dict[tuple[str, str], str] = {}
    for node in found.nodes:
        usage = found.usage.get(node.name)
        used_of = {} if usage is None else {each.device_id: each.used_bytes for each in usage.devices}
        for device in node.devices:
            vendor = vendor_of[node.name, device.device_id] = names.get(device.vendor, OTHER)
            devices[vendor, device.health.value] += 1
            if device.memory_bytes is None:
                unknown[vendor] += 1
            else:
                total[vendor] += device.memory_bytes
            used[vendor] += used_of.get(device.device_id) or 0
    for node_name, device_id, memory_bytes in _claims(found.instances):
        if device_id:
            claimed[vendor_of.get((node_name, device_id), OTHER)] += memory_bytes
    yield gauges(
        "motorpool_controller_devices",
        "Devices.",
        ("vendor", "health"),
        {
            (vendor, health.value): devices[vendor, health.value]
            for vendor in sorted({vendor for vendor, _ in devices})
            for health in Health
        },
    )
    for name, what, figures in (
        ("motorpool_controller_device_memory_bytes", "Memory of devices that is known.", total),
        ("motorpool_controller_device_memory_claimed_bytes", "Memory of devices held by instances.", claimed),
        ("motorpool_controller_device_memory_used_bytes", "Memory of devices in use, as last measured.", used),
        ("motorpool_controller_devices_memory_unknown", "Devices whose memory nobody knows.", unknown),
    ):
        yield _by(name, what, "vendor", {vendor: figures[vendor] for vendor in {v for v, _ in devices} | set(figures)})


def _of_hosts(found: Look) -> Iterator[Metric]:
    total = sum(node.host.memory_bytes or 0 for node in found.nodes)
    claimed = sum(memory_bytes for _, device_id, memory_bytes in _claims(found.instances) if not device_id)
    used = sum(usage.memory_used_bytes or 0 for usage in found.usage.values())
    yield gauge("motorpool_controller_host_memory_bytes", "Memory of nodes that is known.", total)
    yield gauge("motorpool_controller_host_memory_claimed_bytes", "Memory of nodes held by instances.", claimed)
    yield gauge("motorpool_controller_host_memory_used_bytes", "Memory of nodes in use, as last measured.", used)


def _claims(instances: Iterable[Instance]) -> Iterator[tuple[str, str, int]]:
    """Yield what is claimed: node, device ("" is the host), bytes."""
    for instance in instances:
        for member in () if instance.placement is None else instance.placement.members:
            yield member.node, "", member.claim.memory_bytes
            for device in member.claim.devices:
                yield member.node, device.device_id, device.memory_bytes


def _vendors(nodes: Iterable[Node]) -> Mapping[str, str]:
    """Return the vendors that are told apart: whatever agents call theirs, no more than so many."""
    most = Tally(device.vendor for node in nodes for device in node.devices).most_common(VENDORS)
    return {vendor: vendor for vendor, _ in most}


def _by(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    return gauges(name, what, (label,), {(key,): value for key, value in sorted(values.items())})
