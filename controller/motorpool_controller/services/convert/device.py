"""Devices, as agents report them and callers see them."""

from __future__ import annotations

from collections.abc import Container
from sys import intern

from motorpool import v1
from motorpool_controller.domain.fleet import Device, DeviceUsage, Health, Link, MemoryKind, Stranger
from motorpool_controller.domain.names import device_name
from motorpool_controller.services.convert import fields

_MOST_STRANGERS = 16


def device_message(node: str, device: Device, cordon: v1.Cordon | None = None) -> v1.Device:
    """Return a device of ``node`` (its full name) as a message."""
    return v1.Device(
        name=device_name(node, device.device_id),
        device_id=device.device_id,
        vendor=device.vendor,
        framework=device.framework,
        product=device.product,
        index=device.index,
        pci_address=device.pci_address,
        architecture=device.architecture,
        compute_capability=device.compute_capability,
        driver_version=device.driver_version,
        runtime_version=device.runtime_version,
        memory=v1.DeviceMemory(
            kind=(
                v1.MEMORY_KIND_UNSPECIFIED
                if device.memory_kind is None
                else fields.number(v1.MemoryKind, "MEMORY_KIND", device.memory_kind)
            ),
            total_bytes=device.memory_bytes,
        ),
        numa_node=device.numa_node,
        health=fields.number(v1.Health, "HEALTH", device.health),
        health_reasons=device.health_reasons,
        partition_of=device.partition_of,
        links=[
            v1.DeviceLink(
                device_id=link.device_id,
                kind=link.kind,
                bandwidth_bytes_per_second=link.bandwidth_bytes_per_second,
            )
            for link in device.links
        ],
        network_address=device.network_address,
        cordoned=device.cordoned,
        cordon=cordon,
    )


def device_of(message: v1.Device, field: str = "device") -> Device:
    """Return a device as its agent reports it. Without an id, vendor or framework it is none."""
    memory = message.memory
    return Device(
        device_id=_device_id(message.device_id, f"{field}.device_id"),
        vendor=fields.name(message.vendor, f"{field}.vendor"),
        framework=fields.name(message.framework, f"{field}.framework"),
        product=fields.word(message.product, f"{field}.product"),
        index=message.index if message.HasField("index") else None,
        pci_address=fields.word(message.pci_address, f"{field}.pci_address"),
        architecture=fields.word(message.architecture, f"{field}.architecture"),
        compute_capability=fields.word(message.compute_capability, f"{field}.compute_capability"),
        driver_version=fields.word(message.driver_version, f"{field}.driver_version"),
        runtime_version=fields.word(message.runtime_version, f"{field}.runtime_version"),
        memory_kind=fields.member(v1.MemoryKind, "MEMORY_KIND", memory.kind, MemoryKind, f"{field}.memory.kind"),
        memory_bytes=(
            fields.size(memory.total_bytes, f"{field}.memory.total_bytes") if memory.HasField("total_bytes") else None
        ),
        numa_node=message.numa_node if message.HasField("numa_node") else None,
        health=fields.member(v1.Health, "HEALTH", message.health, Health, f"{field}.health") or Health.UNKNOWN,
        health_reasons=tuple(fields.text(reason) for reason in message.health_reasons),
        partition_of=fields.word(message.partition_of, f"{field}.partition_of"),
        links=tuple(_link_of(link, f"{field}.links") for link in message.links),
        network_address=fields.word(message.network_address, f"{field}.network_address"),
    )


def show_device_usage(message: v1.DeviceUsage, usage: DeviceUsage) -> None:
    """Write a measurement of a device into a message. Field by field: lists of nodes have thousands of them."""
    message.device_id = usage.device_id
    message.remains = usage.remains
    if usage.used_bytes is not None:
        message.used_bytes = usage.used_bytes
    if usage.utilization_ratio is not None:
        message.utilization_ratio = usage.utilization_ratio
    if usage.temperature_celsius is not None:
        message.temperature_celsius = usage.temperature_celsius
    if usage.power_watts is not None:
        message.power_watts = usage.power_watts
    for each in usage.strangers:
        message.strangers.add(
            pid=each.pid,
            used_bytes=each.used_bytes,
            program=each.program,
            user=each.user,
            control_group=each.control_group,
            instance=each.instance,
        )


def device_usage_of(message: v1.DeviceUsage, field: str, placed: Container[str] | None = None) -> DeviceUsage:
    """Return a measurement of a device. Ours is what processes of instances hold, where all of them are told.

    Where ``placed`` names those that are placed there, processes of others are strangers'.
    """
    ours = [each for each in message.processes if each.instance and (placed is None or each.instance in placed)]
    return DeviceUsage(
        device_id=_device_id(message.device_id, f"{field}.device_id"),
        used_bytes=(fields.size(message.used_bytes, f"{field}.used_bytes") if message.HasField("used_bytes") else None),
        utilization_ratio=_number(message, "utilization_ratio", field),
        temperature_celsius=_number(message, "temperature_celsius", field),
        power_watts=_number(message, "power_watts", field),
        own_bytes=(
            sum(fields.size(process.used_bytes, f"{field}.processes") for process in ours)
            if message.processes and all(process.HasField("used_bytes") for process in ours)
            else None
        ),
        strangers=_strangers(message, placed, f"{field}.processes"),
        remains=fields.text(message.remains),
    )


def _strangers(message: v1.DeviceUsage, placed: Container[str] | None, field: str) -> tuple[Stranger, ...]:
    """Return who holds a device beside the instances that are placed there: the greatest of them."""
    found = [
        Stranger(
            pid=fields.size(each.pid, f"{field}.pid"),
            used_bytes=fields.size(each.used_bytes, f"{field}.used_bytes") if each.HasField("used_bytes") else None,
            program=fields.text(each.program),
            user=fields.text(each.user),
            control_group=fields.text(each.control_group),
            instance=fields.text(each.instance),
        )
        for each in message.processes
        if not each.instance or (placed is not None and each.instance not in placed)
    ]
    return tuple(sorted(found, key=lambda each: (-(each.used_bytes or 0), each.pid))[:_MOST_STRANGERS])


def _device_id(value: str, field: str) -> str:
    if "/" in fields.name(value, field):
        raise fields.invalid(field, "a device's id stands in its name and cannot have a slash")
    # One object for what each measurement of each device says again.
    return intern(value)


def _link_of(message: v1.DeviceLink, field: str) -> Link:
    known = message.HasField("bandwidth_bytes_per_second")
    return Link(
        device_id=fields.name(message.device_id, f"{field}.device_id"),
        kind=fields.word(message.kind, f"{field}.kind"),
        bandwidth_bytes_per_second=(
            fields.size(message.bandwidth_bytes_per_second, f"{field}.bandwidth_bytes_per_second") if known else None
        ),
    )


def _number(message: v1.DeviceUsage, field: str, path: str) -> float | None:
    if not message.HasField(field):  # type: ignore[arg-type]  # callers name fields of the message
        return None
    value: float = getattr(message, field)
    return fields.ratio(value, f"{path}.{field}")
