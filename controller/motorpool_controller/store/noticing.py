"""Which measurements are worth deciding anew."""

from __future__ import annotations

from motorpool_controller.domain.fleet import DeviceUsage, NodeUsage

NOTICED_BYTES = 256 * 1024 * 1024
NOTICED_SHARE = 0.05


def notable(before: NodeUsage, after: NodeUsage) -> bool:
    """Return whether two measurements differ enough to decide anew."""
    if _differ(before.memory_available_bytes, after.memory_available_bytes) or _differ(
        before.memory_own_bytes, after.memory_own_bytes
    ):
        return True
    devices = {device.device_id: device for device in before.devices}
    return len(devices) != len(after.devices) or any(
        device.device_id not in devices
        or _differ(devices[device.device_id].used_bytes, device.used_bytes)
        or _differ(devices[device.device_id].own_bytes, device.own_bytes)
        for device in after.devices
    )


def memory_of(usage: NodeUsage) -> NodeUsage:
    """Return what of a measurement is decided by: the rest would be kept for every node, and is out of date soon."""
    return NodeUsage(
        measure_time=usage.measure_time,
        memory_used_bytes=usage.memory_used_bytes,
        memory_available_bytes=usage.memory_available_bytes,
        memory_own_bytes=usage.memory_own_bytes,
        devices=tuple(
            DeviceUsage(device_id=each.device_id, used_bytes=each.used_bytes, own_bytes=each.own_bytes)
            for each in usage.devices
        ),
    )


def _differ(before: int | None, after: int | None) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(after - before) >= max(NOTICED_BYTES, NOTICED_SHARE * before)
