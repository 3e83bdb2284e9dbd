"""What is kept on disk of an assignment: enough to start, find, adopt and remove its process without the controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.reconcile.observation import Failure, Rendered


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process for certain: its number, its kernel start ticks and the boot it lives in. A number alone is reused."""

    pid: int
    start_ticks: int
    boot_id: str


class Phase(StrEnum):
    """How far a launch is known to have come. What happened after ``started`` is in the shim's own files."""

    PREPARED = "prepared"
    STARTED = "started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """A request that only an engine which computes answers: ``body``, JSON, posted to ``path``."""

    path: str
    body: str
    timeout_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What a container's launch has beside a process's.

    ``mounts`` are the host's paths by the container's, all read-only; without an ``entrypoint`` it is the image's.
    ``runtime``, ``device_nodes`` and ``cdi_devices`` are three ways to the same devices; the executor takes the first
    that the host knows. With the nodes go ``device_mounts`` (as ``mounts``), ``renamed_nodes`` (the container's path by
    the host's), ``groups`` and ``capabilities``. ``labels`` name the launch; whose it is, the executor adds. ``port``
    is where it listens inside, if not as told; on the ``host_network`` it is told where. ``packages`` are
    installed before what it runs.
    """

    image: str
    labels: Mapping[str, str]
    entrypoint: tuple[str, ...] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    device_nodes: tuple[str, ...] = ()
    runtime: str = ""
    cdi_devices: tuple[str, ...] = ()
    device_mounts: Mapping[str, str] = field(default_factory=dict)
    renamed_nodes: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    memory_limit_bytes: int | None = None
    port: int | None = None
    host_network: bool = False
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What a systemd unit's launch has beside a process's.

    ``title`` names it to people. ``device_nodes`` are the only ones that it may open; None where its devices' vendor
    does not say which those are. For one that the launcher starts, ``backend`` is what the policy knows it by, and
    ``reads`` are the agent's own folders that it reads.
    """

    title: str
    memory_limit_bytes: int | None = None
    device_nodes: tuple[str, ...] | None = None
    backend: str = ""
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRecord:
    """A launch as it is executed, secrets included.

    ``environment`` is the whole of it, but for what an image brings along; an empty ``working_directory`` is the
    image's. Without a ``probe_path`` a port that accepts is ready; where there is a ``models_path``, too, that has to
    name ``model``; what does not ``serve`` is ready as soon as it lives. ``inference`` is asked once it is, and from
    time to time. ``held_ports`` are all that are reserved for it, where that is more than ``ports`` names.
    ``container`` and ``unit`` are None for a process.
    """

    executor: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    working_directory: str
    ports: Mapping[str, int]
    listen_address: str
    rendered: Rendered
    device_ids: tuple[str, ...] = ()
    cgroup: str = ""
    probe_path: str | None = None
    models_path: str = ""
    model: str = ""
    probe_period_seconds: float = 0.2
    probe_timeout_seconds: float = 2.0
    start_timeout_seconds: float = 600.0
    stop_grace_seconds: float = 30.0
    container: Container | None = None
    unit: Unit | None = None
    serves: bool = True
    inference: Inference | None = None
    held_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """The durable handle of one assignment.

    ``run`` counts its launches, ``boot_id`` is the last one's, and ``ready`` says that it once answered its probe.
    """

    assignment: Assignment
    phase: Phase
    run: int
    boot_id: str
    launch: LaunchRecord
    engine: Identity | None = None
    shim: Identity | None = None
    container_id: str = ""
    invocation_id: str = ""
    ready: bool = False
    start_time: datetime | None = None
    restart_count: int = 0
    first_failure: Failure | None = None
    last_failure: Failure | None = None
