"""Nodes, their hosts, plugins and measurements."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from motorpool import v1
from motorpool_controller.domain.conditions import Condition, ResourceUsage
from motorpool_controller.domain.fleet import (
    Executor,
    Host,
    InstanceUsage,
    Node,
    NodeUsage,
    Plugin,
    PluginState,
    PluginUsage,
    Reserved,
)
from motorpool_controller.domain.maintenance import WHOLE
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.device import (
    device_message,
    device_usage_of,
    show_device_usage,
)
from motorpool_controller.services.convert.maintenance import ban_message

_MOST_RESOURCES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What instances hold of a node, in bytes: host memory, and memory of devices by id."""

    memory_bytes: int = 0
    devices: Mapping[str, int] = field(default_factory=dict)


def node_message(node: Node, cordons: Mapping[str, v1.Cordon] = MappingProxyType({})) -> v1.Node:
    """Return what is stored of a node as a message; ``cordons`` are by id of device."""
    return v1.Node(
        name=node.name,
        uid=node.uid,
        state=fields.number(v1.NodeState, "NODE_STATE", node.state),
        state_message=node.state_message
        or (f"Its agent refused its desired state: {node.refused}" if node.refused else ""),
        address=node.address,
        labels=node.labels,
        host=host_message(node.host),
        reserved=v1.Reserved(
            memory_bytes=node.reserved.memory_bytes, device_memory_bytes=node.reserved.device_memory_bytes
        ),
        agent_version=node.agent_version,
        cordoned=node.cordoned,
        devices=[device_message(node.name, device, cordons.get(device.device_id)) for device in node.devices],
        plugins=[plugin_message(plugin) for plugin in node.plugins],
        create_time=fields.timestamp(node.create_time),
        etag=etag(node.revision),
        session_epoch=node.session_epoch,
        executors=[executor_message(executor) for executor in node.executors],
        conditions=[condition_message(condition) for condition in node.conditions],
        cordon=cordons.get(WHOLE),
        ban=None if node.ban is None else ban_message(node.ban),
    )


def etag(revision: int) -> str:
    """Return the etag of a row that this revision wrote."""
    return f'"{revision}"'


def host_message(host: Host) -> v1.Host:
    """Return facts of a machine as a message."""
    return v1.Host(
        hostname=host.hostname,
        os=host.os,
        architecture=host.architecture,
        kernel=host.kernel,
        cpu_count=host.cpu_count,
        memory_bytes=host.memory_bytes or 0,
        boot_id=host.boot_id,
        machine_id=host.machine_id,
    )


def host_of(message: v1.Host, path: str = "host") -> Host:
    """Return facts of a machine; memory of 0 bytes is unknown."""
    return Host(
        hostname=fields.word(message.hostname, f"{path}.hostname"),
        os=fields.word(message.os, f"{path}.os"),
        architecture=fields.word(message.architecture, f"{path}.architecture"),
        kernel=fields.word(message.kernel, f"{path}.kernel"),
        cpu_count=fields.size(message.cpu_count, f"{path}.cpu_count"),
        memory_bytes=fields.size(message.memory_bytes, f"{path}.memory_bytes") or None,
        boot_id=fields.word(message.boot_id, f"{path}.boot_id"),
        machine_id=fields.word(message.machine_id, f"{path}.machine_id"),
    )


def reserved_of(message: v1.Reserved, path: str = "reserved") -> Reserved:
    """Return what a node keeps back."""
    return Reserved(
        memory_bytes=fields.size(message.memory_bytes, f"{path}.memory_bytes"),
        device_memory_bytes=fields.size(message.device_memory_bytes, f"{path}.device_memory_bytes"),
    )


def plugin_message(plugin: Plugin) -> v1.PluginStatus:
    """Return what became of a plugin as a message."""
    return v1.PluginStatus(
        plugin_id=plugin.plugin_id,
        distribution=plugin.distribution,
        version=plugin.version,
        kind=plugin.kind,
        provides=plugin.provides,
        state=fields.number(v1.PluginState, "PLUGIN_STATE", plugin.state),
        last_error=plugin.last_error,
        failures=plugin.failures,
    )


def plugin_of(message: v1.PluginStatus, path: str = "plugin") -> Plugin:
    """Return what became of a plugin, as its agent reports it."""
    return Plugin(
        plugin_id=fields.name(message.plugin_id, f"{path}.plugin_id"),
        distribution=fields.word(message.distribution, f"{path}.distribution"),
        version=fields.word(message.version, f"{path}.version"),
        kind=fields.word(message.kind, f"{path}.kind"),
        provides=fields.word(message.provides, f"{path}.provides"),
        state=fields.required(v1.PluginState, "PLUGIN_STATE", message.state, PluginState, f"{path}.state"),
        last_error=fields.text(message.last_error),
        failures=fields.size(message.failures, f"{path}.failures"),
    )


def executor_message(executor: Executor) -> v1.ExecutorStatus:
    """Return whether an executor works as a message."""
    return v1.ExecutorStatus(executor=executor.executor, works=executor.works, message=executor.message)


def executor_of(message: v1.ExecutorStatus, path: str = "executor") -> Executor:
    """Return whether an executor works, as its agent reports it."""
    return Executor(
        executor=fields.name(message.executor, f"{path}.executor"),
        works=message.works,
        message=fields.text(message.message),
    )


def condition_message(condition: Condition) -> v1.NodeCondition:
    """Return whether a node runs short of something as a message."""
    return v1.NodeCondition(
        condition=condition.condition,
        pressed=condition.pressed,
        message=condition.message,
        time=None if condition.time is None else fields.timestamp(condition.time),
    )


def condition_of(message: v1.NodeCondition, path: str = "condition") -> Condition:
    """Return whether a node runs short of something, as its agent reports it."""
    return Condition(
        condition=fields.name(message.condition, f"{path}.condition"),
        pressed=message.pressed,
        message=fields.text(message.message),
        time=fields.time_of(message.time, f"{path}.time") if message.HasField("time") else None,
    )


def show_usage(message: v1.NodeUsage, usage: NodeUsage) -> None:
    """Write a measurement of a node into a message. Field by field: a list of nodes is made of these for the most."""
    fields.set_time(message.measure_time, usage.measure_time)
    if usage.memory_used_bytes is not None:
        message.memory_used_bytes = usage.memory_used_bytes
    if usage.memory_available_bytes is not None:
        message.memory_available_bytes = usage.memory_available_bytes
    if usage.memory_own_bytes is not None:
        message.memory_instances_bytes = usage.memory_own_bytes
    if usage.cpu_ratio is not None:
        message.cpu_ratio = usage.cpu_ratio
    for device in usage.devices:
        show_device_usage(message.devices.add(), device)
    message.plugins.extend(_plugin_usage_message(plugin) for plugin in usage.plugins)
    for each in usage.resources:
        message.resources.add(resource=each.resource, available=each.available, total=each.total, low=each.low)


def usage_of(
    message: v1.NodeUsage, now: datetime, path: str = "heartbeat.usage", *, placed: Container[str] | None = None
) -> NodeUsage:
    """Return a measurement of a node. It counts as made now: an agent's clock is not ours.

    Where ``placed`` names the instances that are placed there, what others hold is not ours: an agent keeps what it ran
    for a store that was restored since, and no claim stands for that.
    """
    own_bytes = _size(message, "memory_instances_bytes", path)
    if own_bytes is not None and placed is not None:
        strangers = [each.memory_bytes for each in message.instances if each.instance not in placed]
        own_bytes = max(0, own_bytes - sum(fields.size(size, f"{path}.instances") for size in strangers))
    return NodeUsage(
        measure_time=now,
        memory_used_bytes=_size(message, "memory_used_bytes", path),
        memory_available_bytes=_size(message, "memory_available_bytes", path),
        memory_own_bytes=own_bytes,
        cpu_ratio=(fields.ratio(message.cpu_ratio, f"{path}.cpu_ratio") if message.HasField("cpu_ratio") else None),
        devices=tuple(device_usage_of(device, f"{path}.devices", placed) for device in message.devices),
        instances=_instances_of(message, path),
        plugins=tuple(_plugin_usage_of(plugin, f"{path}.plugins") for plugin in message.plugins),
        resources=tuple(_resource_of(each, f"{path}.resources") for each in message.resources[:_MOST_RESOURCES]),
    )


def _resource_of(message: v1.ResourceUsage, path: str) -> ResourceUsage:
    return ResourceUsage(
        resource=fields.name(message.resource, f"{path}.resource"),
        available=fields.size(message.available, f"{path}.available") if message.HasField("available") else None,
        total=fields.size(message.total, f"{path}.total"),
        low=fields.size(message.low, f"{path}.low"),
    )


def _plugin_usage_message(usage: PluginUsage) -> v1.PluginUsage:
    return v1.PluginUsage(
        plugin_id=usage.plugin_id,
        pid=usage.pid,
        resident_bytes=usage.resident_bytes,
        open_files=usage.open_files,
        sample_duration=None if usage.sample_seconds is None else fields.duration(usage.sample_seconds),
    )


def _plugin_usage_of(message: v1.PluginUsage, path: str) -> PluginUsage:
    return PluginUsage(
        plugin_id=fields.text(message.plugin_id),
        pid=fields.size(message.pid, f"{path}.pid"),
        resident_bytes=(
            fields.size(message.resident_bytes, f"{path}.resident_bytes")
            if message.HasField("resident_bytes")
            else None
        ),
        open_files=fields.size(message.open_files, f"{path}.open_files") if message.HasField("open_files") else None,
        sample_seconds=(
            fields.bounded_seconds_of(message.sample_duration, f"{path}.sample_duration")
            if message.HasField("sample_duration")
            else None
        ),
    )


def _instances_of(message: v1.NodeUsage, path: str) -> tuple[InstanceUsage, ...]:
    """Return what each instance holds; of a device, only where the vendor tells the bytes of all its processes."""
    devices: dict[str, dict[str, int | None]] = {}
    for device in message.devices:
        for process in device.processes:
            held = devices.setdefault(process.instance, {})
            before = held.get(device.device_id, 0)
            used = fields.size(process.used_bytes, f"{path}.devices") if process.HasField("used_bytes") else None
            held[device.device_id] = None if before is None or used is None else before + used
    return tuple(
        InstanceUsage(
            instance=fields.text(each.instance),
            memory_bytes=(
                fields.size(each.memory_bytes, f"{path}.instances") if each.HasField("memory_bytes") else None
            ),
            devices={name: size for name, size in devices.get(each.instance, {}).items() if size is not None},
        )
        for each in message.instances
    )


def _size(message: v1.NodeUsage, of: str, path: str) -> int | None:
    if not message.HasField(of):  # type: ignore[arg-type]  # callers name fields of the message
        return None
    value: int = getattr(message, of)
    return fields.size(value, f"{path}.{of}")
