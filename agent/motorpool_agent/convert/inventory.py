"""What the node has: its machine, devices, plugins, profiles and measurements, to messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from google.protobuf.duration_pb2 import Duration

from motorpool import v1
from motorpool_agent.convert.observed import line, timestamp
from motorpool_agent.inventory import HostFacts, HostUsage, PluginState, PluginStatus, PluginUsage
from motorpool_agent.inventory.pressure import Condition, Resource
from motorpool_agent.inventory.strangers import Stranger, stranger
from motorpool_sdk.accelerator import Device, Health, MemoryKind, Process, Sample
from motorpool_sdk.backend import MemoryModel, OptionKind, Profile, Version
from motorpool_sdk.gang import StartOrder

_HEALTH: Mapping[Health, v1.Health.ValueType] = {
    Health.HEALTHY: v1.HEALTH_HEALTHY,
    Health.UNHEALTHY: v1.HEALTH_UNHEALTHY,
    Health.UNKNOWN: v1.HEALTH_UNKNOWN,
}
_MEMORY_KINDS: Mapping[MemoryKind | None, v1.MemoryKind.ValueType] = {
    None: v1.MEMORY_KIND_UNSPECIFIED,
    MemoryKind.DEDICATED: v1.MEMORY_KIND_DEDICATED,
    MemoryKind.UNIFIED: v1.MEMORY_KIND_UNIFIED,
    MemoryKind.CARVE_OUT: v1.MEMORY_KIND_CARVE_OUT,
}
_MEMORY_MODELS: Mapping[MemoryModel, v1.MemoryModel.ValueType] = {
    MemoryModel.FRACTION: v1.MEMORY_MODEL_FRACTION,
    MemoryModel.LAYERS: v1.MEMORY_MODEL_LAYERS,
    MemoryModel.FIXED: v1.MEMORY_MODEL_FIXED,
}
_OPTION_KINDS: Mapping[OptionKind, v1.OptionKind.ValueType] = {
    OptionKind.FLAG: v1.OPTION_KIND_FLAG,
    OptionKind.STRING: v1.OPTION_KIND_STRING,
    OptionKind.INTEGER: v1.OPTION_KIND_INTEGER,
    OptionKind.NUMBER: v1.OPTION_KIND_NUMBER,
    OptionKind.JSON: v1.OPTION_KIND_JSON,
}
_START_ORDERS: Mapping[StartOrder, v1.StartOrder.ValueType] = {
    StartOrder.TOGETHER: v1.START_ORDER_TOGETHER,
    StartOrder.LEADER_FIRST: v1.START_ORDER_LEADER_FIRST,
    StartOrder.FOLLOWERS_FIRST: v1.START_ORDER_FOLLOWERS_FIRST,
}
_PLUGIN_STATES: Mapping[PluginState, v1.PluginState.ValueType] = {
    PluginState.FOUND: v1.PLUGIN_STATE_FOUND,
    PluginState.BLOCKED: v1.PLUGIN_STATE_BLOCKED,
    PluginState.INCOMPATIBLE: v1.PLUGIN_STATE_INCOMPATIBLE,
    PluginState.READY: v1.PLUGIN_STATE_READY,
    PluginState.DEGRADED: v1.PLUGIN_STATE_DEGRADED,
    PluginState.QUARANTINED: v1.PLUGIN_STATE_QUARANTINED,
}


def host_message(facts: HostFacts) -> v1.Host:
    """Return the message of the machine's facts."""
    return v1.Host(
        hostname=facts.hostname,
        os=facts.os,
        architecture=facts.architecture,
        kernel=facts.kernel,
        cpu_count=facts.cpu_count,
        memory_bytes=facts.memory_bytes,
        boot_id=facts.boot_id,
        machine_id=facts.machine_id,
    )


def device_message(device: Device, node: str) -> v1.Device:
    """Return the message of a device of ``node`` (``nodes/{node}``)."""
    return v1.Device(
        name=f"{node}/devices/{device.device_id}",
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
        memory=v1.DeviceMemory(kind=_MEMORY_KINDS[device.memory_kind], total_bytes=device.memory_bytes),
        numa_node=device.numa_node,
        health=_HEALTH[device.health],
        health_reasons=[line(reason) for reason in device.health_reasons],
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
    )


def plugin_message(status: PluginStatus) -> v1.PluginStatus:
    """Return the message of what became of a plugin."""
    return v1.PluginStatus(
        plugin_id=status.plugin_id,
        distribution=status.distribution,
        version=status.version,
        kind=status.kind,
        provides=status.provides,
        state=_PLUGIN_STATES[status.state],
        last_error=line(status.words),
        failures=status.failures,
    )


def profile_message(profile: Profile, installed: Iterable[str]) -> v1.BackendProfile:
    """Return the message of a backend's profile; ``installed`` names the versions whose environment stands."""
    ready = frozenset(installed)
    return v1.BackendProfile(
        backend=profile.backend,
        aliases=profile.aliases,
        versions=[_version(version, installed=version.version in ready) for version in profile.versions],
        memory_model=_MEMORY_MODELS[profile.memory_model],
        rules=profile.rules,
        fraction_option=profile.fraction_option,
        fraction_default=profile.fraction_default,
        formats=profile.formats,
        architectures=profile.architectures,
        categories=profile.categories,
        distributed_styles=[style.style for style in profile.distributed_styles],
        start_orders={style.style: _START_ORDERS[style.start_order] for style in profile.distributed_styles},
        options=[
            v1.BackendOption(
                option=option.name,
                aliases=option.aliases,
                kind=_OPTION_KINDS[option.kind],
                system_owned=option.system_owned,
                meaning=option.meaning,
                least=option.least,
                most=option.most,
                above=option.above,
                multiple_of=option.multiple_of,
                power_of_two=option.power_of_two,
                choices=option.choices,
                default_value=option.default,
                below=option.below,
                excludes=option.excludes,
            )
            for option in profile.options
        ],
        health_path=profile.health_path,
        metrics_path=profile.metrics_path,
        api_key=profile.api_key,
        start_timeout=_duration(profile.start_timeout_seconds),
        stop_grace=_duration(profile.stop_grace_seconds),
        cpu=profile.cpu,
        runs_declared=profile.runs_declared,
        features=profile.features,
        closed_options=profile.closed_options,
        most_devices=profile.most_devices,
    )


def condition_message(condition: Condition) -> v1.NodeCondition:
    """Return the message of whether the machine runs short of something."""
    return v1.NodeCondition(
        condition=condition.condition,
        pressed=condition.pressed,
        message=line(condition.message),
        time=timestamp(condition.time),
    )


def usage_message(
    host: HostUsage,
    samples: Mapping[str, Sample],
    *,
    plugins: Iterable[PluginUsage] = (),
    instances: Mapping[str, int | None],
    instance_of: Callable[[int], str],
    stranger_of: Callable[[int], Stranger] = stranger,
    remains: Mapping[str, str] = MappingProxyType({}),
    resources: Iterable[Resource] = (),
    now: datetime,
) -> v1.NodeUsage:
    """Return the message of one measurement.

    ``instances`` is the host memory of each by name; ``instance_of`` names the one that a process belongs to, or "",
    and ``stranger_of`` tells of one that belongs to none; ``remains`` are sentences by device.
    """
    held = [size for size in instances.values() if size is not None]
    return v1.NodeUsage(
        measure_time=timestamp(now),
        memory_used_bytes=host.memory_used_bytes,
        memory_available_bytes=host.memory_available_bytes,
        cpu_ratio=host.cpu_ratio,
        memory_instances_bytes=sum(held) if len(held) == len(instances) else None,
        instances=[v1.InstanceUsage(instance=name, memory_bytes=size) for name, size in sorted(instances.items())],
        devices=[
            v1.DeviceUsage(
                device_id=sample.device_id,
                used_bytes=sample.used_bytes,
                utilization_ratio=sample.utilization_ratio,
                temperature_celsius=sample.temperature_celsius,
                power_watts=sample.power_watts,
                processes=[_device_process(process, instance_of, stranger_of) for process in sample.processes],
                remains=remains.get(sample.device_id, ""),
            )
            for _, sample in sorted(samples.items())
        ],
        plugins=[
            v1.PluginUsage(
                plugin_id=each.plugin_id,
                pid=each.pid,
                resident_bytes=each.resident_bytes,
                open_files=each.open_files,
                sample_duration=None if each.sample_seconds is None else _duration(each.sample_seconds),
            )
            for each in plugins
        ],
        resources=[
            v1.ResourceUsage(resource=each.name, available=each.available, total=each.total, low=each.low)
            for each in resources
        ],
    )


def _device_process(
    process: Process, instance_of: Callable[[int], str], stranger_of: Callable[[int], Stranger]
) -> v1.DeviceProcess:
    instance = instance_of(process.pid)
    message = v1.DeviceProcess(pid=process.pid, used_bytes=process.used_bytes, instance=instance)
    if not instance:
        whose = stranger_of(process.pid)
        message.user, message.control_group, message.program = whose.user, whose.control_group, whose.program
    return message


def _version(version: Version, *, installed: bool) -> v1.BackendVersion:
    environment = version.environment
    return v1.BackendVersion(
        version=version.version,
        frameworks=version.frameworks,
        executors=version.executors,
        operating_systems=version.operating_systems,
        architectures=version.architectures,
        image=version.image,
        executable=version.executable,
        environment=None if environment is None else v1.EngineEnvironment(requirements=environment.requirements),
        installed=environment is None or installed,
        least_runtimes=version.least_runtimes,
    )


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds))
    return message
