"""Nodes, their devices, plugins and backends, as the controller knows them; memory in bytes, an unknown is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from motorpool_controller.domain.conditions import Condition, ResourceUsage


class NodeState(StrEnum):
    """What the controller thinks of a node; SUSPECT, ready and not heard from just now, is never stored."""

    ENROLLED = "enrolled"
    READY = "ready"
    UNREACHABLE = "unreachable"
    SUSPECT = "suspect"


class Health(StrEnum):
    """Whether a device can be trusted with work."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class MemoryKind(StrEnum):
    """What a device's memory is."""

    DEDICATED = "dedicated"
    UNIFIED = "unified"
    CARVE_OUT = "carve_out"


class PluginState(StrEnum):
    """What became of a plugin on a node."""

    FOUND = "found"
    BLOCKED = "blocked"
    INCOMPATIBLE = "incompatible"
    READY = "ready"
    DEGRADED = "degraded"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Facts of a node's machine."""

    hostname: str = ""
    os: str = ""
    architecture: str = ""
    kernel: str = ""
    cpu_count: int = 0
    memory_bytes: int | None = None
    boot_id: str = ""
    machine_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """What a node keeps back from scheduling: host memory, and memory of each device."""

    memory_bytes: int = 0
    device_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A link between two devices of a node."""

    device_id: str
    kind: str
    bandwidth_bytes_per_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One accelerator or partition, as its node's agent reports it."""

    device_id: str
    vendor: str
    framework: str
    product: str = ""
    index: int | None = None
    pci_address: str = ""
    architecture: str = ""
    compute_capability: str = ""
    driver_version: str = ""
    runtime_version: str = ""
    memory_kind: MemoryKind | None = None
    memory_bytes: int | None = None
    numa_node: int | None = None
    health: Health = Health.UNKNOWN
    health_reasons: tuple[str, ...] = ()
    partition_of: str = ""
    links: tuple[Link, ...] = ()
    network_address: str = ""
    cordoned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One plugin found on a node."""

    plugin_id: str
    distribution: str
    version: str
    kind: str
    provides: str
    state: PluginState
    last_error: str = ""
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """What runs engines on a node: ``process`` or ``docker``; ``message`` says what it is, or why it does not work."""

    executor: str
    works: bool
    message: str = ""


class MemoryModel(StrEnum):
    """How a backend takes memory; names the selector."""

    FRACTION = "fraction"
    LAYERS = "layers"
    FIXED = "fixed"


class OptionKind(StrEnum):
    """What kind of value an option takes."""

    FLAG = "flag"
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    JSON = "json"


class StartOrder(StrEnum):
    """Which members of a distributed instance are started before which."""

    TOGETHER = "together"
    LEADER_FIRST = "leader_first"
    FOLLOWERS_FIRST = "followers_first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a backend's command line; names carry no dashes. ``limits`` holds values to it."""

    name: str
    aliases: tuple[str, ...] = ()
    kind: OptionKind = OptionKind.STRING
    system_owned: bool = False
    meaning: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    multiple_of: int = 0
    power_of_two: bool = False
    choices: tuple[str, ...] = ()
    default: str = ""
    below: str = ""
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendVersion:
    """One version of a backend that a node can run; ``least_runtimes`` are versions of runtimes by framework."""

    version: str
    frameworks: tuple[str, ...] = ("cpu",)
    executors: tuple[str, ...] = ("process",)
    operating_systems: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    image: str = ""
    executable: str = ""
    requirements: tuple[str, ...] = ()
    installed: bool = False
    least_runtimes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What scheduling knows of a backend on a node. Durations are in seconds.

    ``start_orders`` are those of distributed styles whose members are not started all at once.
    """

    backend: str
    versions: tuple[BackendVersion, ...]
    memory_model: MemoryModel
    rules: str
    aliases: tuple[str, ...] = ()
    fraction_option: str = ""
    fraction_default: float | None = None
    formats: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    distributed_styles: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    health_path: str = ""
    metrics_path: str = ""
    api_key: bool = False
    cpu: bool = False
    start_timeout_seconds: float = 600.0
    stop_grace_seconds: float = 30.0
    runs_declared: bool = False
    start_orders: tuple[tuple[str, StartOrder], ...] = ()
    features: tuple[str, ...] = ()
    closed_options: bool = False
    most_devices: int = 0

    def start_order(self, style: str) -> StartOrder:
        """Return the order in which members of this style are started."""
        return dict(self.start_orders).get(style, StartOrder.TOGETHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Instances are moved away since ``time``, of which there were ``total`` then; none is left at ``complete_time``.

    Those that have no place elsewhere stay until ``deadline_time``, for ever where that is None.
    """

    time: datetime
    reason: str = ""
    actor: str = ""
    deadline_time: datetime | None = None
    total: int = 0
    complete_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cordon:
    """Nothing new is placed there: since when, who said so and why; and what becomes of what is there."""

    time: datetime
    reason: str = ""
    actor: str = ""
    drain: Drain | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ban:
    """An administrator's word that a node's certificates count for nothing: since when, who said so and why."""

    time: datetime
    reason: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An operator's word that a node is to end something that no record places there, up to this generation."""

    assignment_id: str
    generation: int
    time: datetime
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine with an agent. ``name`` is full (``nodes/a``); ``labels`` are the agent's, overlaid by an operator's.

    ``refused`` is why its agent refused the last desired state, empty where it took it; such a node takes nothing new.
    ``profiles`` maps a backend's name to the digest of its profile, which is stored once. ``executors`` are none where
    the agent is too old to tell of them. ``cordons`` say who cordoned the node (key "") and its devices (their ids),
    and why; for those that an earlier controller was told of, or a file tells, there is none (see ``maintenance``).
    ``trusted_authorities`` are fingerprints, none where the agent is too old to tell.
    """

    name: str
    uid: str
    enrollment_id: str
    create_time: datetime
    state: NodeState = NodeState.ENROLLED
    state_message: str = ""
    state_time: datetime | None = None
    address: str = ""
    agent_labels: Mapping[str, str] = field(default_factory=dict)
    operator_labels: Mapping[str, str] = field(default_factory=dict)
    host: Host = field(default_factory=Host)
    reserved: Reserved = field(default_factory=Reserved)
    agent_version: str = ""
    cordoned: bool = False
    cordoned_devices: tuple[str, ...] = ()
    cordons: Mapping[str, Cordon] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    plugins: tuple[Plugin, ...] = ()
    profiles: Mapping[str, str] = field(default_factory=dict)
    executors: tuple[Executor, ...] = ()
    conditions: tuple[Condition, ...] = ()
    session_epoch: int = 0
    refused: str = ""
    certificate_serials: tuple[str, ...] = ()
    trusted_authorities: tuple[str, ...] = ()
    releases: tuple[Release, ...] = ()
    ban: Ban | None = None
    revision: int = 0

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels that selectors see."""
        return {**self.agent_labels, **self.operator_labels}

    def missing(self, executor: str) -> str | None:
        """Return why an executor does not work here, None where it does or nobody told."""
        if not self.executors:
            return None
        for known in self.executors:
            if known.executor == executor:
                return None if known.works else known.message
        there = ", ".join(known.executor for known in self.executors)
        return f"its agent has no executor {executor}, but {there}; upgrade the agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """A process on a device that belongs to no instance placed there; what is not known of it is empty or None."""

    pid: int
    used_bytes: int | None = None
    program: str = ""
    user: str = ""
    control_group: str = ""
    instance: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUsage:
    """One measurement of a device: bytes, a ratio of 0 to 1, degrees Celsius, watts.

    ``strangers`` are those that hold most; ``remains`` says what an instance left there.
    """

    device_id: str
    used_bytes: int | None = None
    utilization_ratio: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    own_bytes: int | None = None
    strangers: tuple[Stranger, ...] = ()
    remains: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceUsage:
    """What one instance holds on a node: host memory beside the page cache, and memory by id of device."""

    instance: str
    memory_bytes: int | None = None
    devices: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginUsage:
    """What a plugin's process holds, and how long its last measurement took; None where unknown."""

    plugin_id: str
    pid: int
    resident_bytes: int | None = None
    open_files: int | None = None
    sample_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUsage:
    """One measurement of a node; never stored. ``own`` is what our own instances hold."""

    measure_time: datetime
    memory_used_bytes: int | None = None
    memory_available_bytes: int | None = None
    memory_own_bytes: int | None = None
    cpu_ratio: float | None = None
    devices: tuple[DeviceUsage, ...] = ()
    instances: tuple[InstanceUsage, ...] = ()
    plugins: tuple[PluginUsage, ...] = ()
    resources: tuple[ResourceUsage, ...] = ()
