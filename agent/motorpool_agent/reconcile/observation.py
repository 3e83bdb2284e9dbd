"""What the agent sees of its instances. Field for field the protos' messages, without protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from motorpool_agent.reconcile.assignment import Assignment, ModelSource
from motorpool_formats.facts import ModelFacts


class State(StrEnum):
    """What an instance is doing."""

    DOWNLOADING = "downloading"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ERROR = "error"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failure; ``log_tail`` is at most 200 lines. ``reason`` is stable, e.g. ``EXITED``, ``START_TIMEOUT``.

    ``evidence`` is the line of the log by which the reason was recognised, empty where none was.
    """

    time: datetime
    reason: str
    message: str
    exit_code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    evidence: str = ""
    log_tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to run an instance, ended by ``failure``; what was never ``executed`` has no log.

    ``number`` counts the tries of an assignment, and is the number of the run that it was.
    """

    number: int
    failure: Failure
    generation: int
    begin_time: datetime | None = None
    executed: bool = False
    ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The launch command as it is executed, secrets masked."""

    executor: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    listen_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDevices:
    """An engine that runs, and the devices that it claims."""

    pid: int
    device_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedInstance:
    """What the agent knows of one assignment's process. Durable facts only: no measurements.

    ``next_try_time`` is when it is launched again after a failure; None while it need not be.
    ``ports`` are those that a member of an instance over several nodes reserved, ``parts`` versions of what has to be
    the same on all of them. ``assignment`` is what runs for certain and the controller does not name any more.
    ``attempt`` is the number of the present try, 0 before the first; ``attempts`` are those
    that ended, as far as they are kept.
    """

    assignment_id: str
    instance: str
    generation: int
    state: State
    message: str = ""
    launch: Rendered | None = None
    pid: int = 0
    pid_start_ticks: int = 0
    start_time: datetime | None = None
    restart_count: int = 0
    first_failure: Failure | None = None
    last_failure: Failure | None = None
    progress_bytes: int | None = None
    progress_total_bytes: int | None = None
    progress_bytes_per_second: int | None = None
    adopted: bool = False
    next_try_time: datetime | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    assignment: Assignment | None = field(default=None, repr=False)
    attempt: int = 0
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorStatus:
    """Whether an executor works; ``message`` says what it is, or why it does not and what to do."""

    executor: str
    works: bool
    message: str = ""


class FilesState(StrEnum):
    """How much of a model was fetched."""

    COMPLETE = "complete"
    DOWNLOADING = "downloading"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What was fetched of a model; of a download under way ``done_bytes`` are those at its start."""

    files_id: str
    source: ModelSource
    commit: str
    state: FilesState
    total_bytes: int
    done_bytes: int
    folder: str
    create_time: datetime
    use_time: datetime | None
    etag: str
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a query: facts, or bytes that came free, or a reason and a message."""

    query_id: str
    facts: ModelFacts | None = None
    freed_bytes: int | None = None
    error_reason: str = ""
    error_message: str = ""
