"""What all instances of an agent share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from motorpool_agent.policy import Policy
from motorpool_agent.reconcile.attempts import Kept
from motorpool_agent.reconcile.observation import ExecutorStatus
from motorpool_agent.runtime.engines import Engines
from motorpool_agent.runtime.executor import Executor
from motorpool_agent.runtime.fetching import Models
from motorpool_agent.runtime.launching import Backends
from motorpool_agent.runtime.ports import Ports
from motorpool_agent.runtime.room import Room
from motorpool_agent.state.handles import Handles


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How long things take that are waited for; ``backoff_scale`` shortens restarts' delays.

    Without an ``inference_period_seconds`` engines are not asked to compute while they run.
    ``stalled_seconds`` without progress end the preparation of a launch: a download that says nothing, a plugin that
    is never ready. A launch waits ``memory_settles_seconds`` for memory of devices that may be coming free.
    """

    backoff_scale: float = 1.0
    well_seconds: float = 60.0
    health_period_seconds: float = 10.0
    stop_retry_seconds: float = 10.0
    look_period_seconds: float = 5.0
    inference_period_seconds: float | None = 60.0
    stalled_seconds: float = 3600.0
    memory_settles_seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The agent's executors, plugins, engines, models, ports and handles.

    ``removed`` is told an id whose instance is gone.

    ``executors`` tells what is known of each one, by name; ``bare`` is the operator's choice of what runs without an
    image, and ``starts_units`` whether this agent may start units of the machine. ``policy`` reads what may run here,
    and ``fetched`` are the folders of what this agent fetched or made, models and engines. ``proxies`` are variables
    that every engine gets, ``kept`` how many attempts of each instance are kept.
    """

    executor: Executor
    executors: Callable[[], Awaitable[Mapping[str, ExecutorStatus]]]
    bare: str
    starts_units: bool
    backends: Backends
    engines: Engines
    policy: Callable[[], Policy]
    fetched: tuple[Path, ...]
    models: Models
    ports: Ports
    room: Room
    handles: Handles
    timings: Timings
    proxies: Mapping[str, str]
    kept: Kept
    notify: Callable[[], None]
    removed: Callable[[str], None]
