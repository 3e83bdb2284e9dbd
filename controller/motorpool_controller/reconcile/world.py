"""What a reconciliation reads, what it decides, and what agents report to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from motorpool_controller.domain.attempts import Attempt, Failure
from motorpool_controller.domain.declarations import DeclaredBackend
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Node, NodeUsage, Profile
from motorpool_controller.domain.peak import Peak
from motorpool_controller.domain.workload import (
    Assignment,
    Deployment,
    Instance,
    InstanceState,
    ModelSource,
    RenderedLaunch,
)
from motorpool_controller.reconcile.agenda import Agenda, Changes
from motorpool_controller.scheduling.snapshot import Reading

__all__ = ["Decision", "Notice", "Reading", "Report", "Settings", "World"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times in seconds and limits that an operator may set.

    ``drain_seconds`` pass between an instance's leaving the endpoints and its stop where others stand in for it.
    ``mass_failure_fraction`` of the fleet, and at least ``mass_failure_nodes``, lost within
    ``mass_failure_window_seconds`` of each other stop the replacing of what ran there.
    """

    scheduled_deadline_seconds: float = 60.0
    stopping_slack_seconds: float = 60.0
    drain_seconds: float = 0.0
    mass_failure_fraction: float = 0.34
    mass_failure_nodes: int = 3
    mass_failure_window_seconds: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Records and the latest observations.

    ``nodes``, ``deployments`` and ``instances`` are by full name, ``profiles`` by digest, ``readings`` by (full name
    of the node, path), ``models`` are what look-ups on hubs came to, ``files`` the nodes that have a pinned model,
    ``peaks`` by kind what instances were seen to
    hold. ``connected`` names the nodes with a session now. ``lease_end`` is when a node counts as lost: its last
    heartbeat plus the lease; after a start of the controller every node, whatever its state, has one full lease more.
    A node without an entry is left as it is: once everything was looked at, those that are lost or about to be have
    one. ``suspect`` names nodes that were not heard from just now: nothing new is
    placed there, and nothing is recorded. ``gone`` holds the uids of instances whose node acknowledged the tombstone
    and reports nothing of them, all of their nodes if they span several; ``gone_on`` has the same by node.
    ``agenda`` is what the decision before left, and ``changes`` what changed
    since; where that is None, everything may have. A node that became suspect, or is no longer, counts as changed.
    """

    nodes: Mapping[str, Node]
    deployments: Mapping[str, Deployment]
    instances: Mapping[str, Instance]
    profiles: Mapping[str, Profile]
    connected: frozenset[str]
    lease_end: Mapping[str, datetime]
    suspect: frozenset[str] = frozenset()
    readings: Mapping[tuple[str, str], Reading] = field(default_factory=dict)
    models: Mapping[ModelSource, Reading] = field(default_factory=dict)
    files: Mapping[ModelSource, frozenset[str]] = field(default_factory=dict)
    usage: Mapping[str, NodeUsage] = field(default_factory=dict)
    peaks: Mapping[str, Peak] = field(default_factory=dict)
    declared: Mapping[str, DeclaredBackend] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    gone_on: Mapping[str, frozenset[str]] = field(default_factory=dict)
    agenda: Agenda = field(default_factory=Agenda, compare=False)
    changes: Changes | None = None
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An event to be recorded: the arguments of ``Transaction.event``."""

    severity: Severity
    reason: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to record, and what to ask.

    Only what differs from the world stands in it: a fleet at rest gives an empty one. ``delete_*`` are full names.
    ``questions`` are (full name of the node, path) whose model some pending instance needs read and whose answer is not
    there, of as many nodes as it needs, or was an error; the caller asks each once, and again from time to time after
    an error. Those that do not answer in time are to count as having answered so (``Reading.late``). ``look_ups`` are
    likewise all models that are to be looked up on hubs. ``wake_at`` is when to decide again if nothing happens before.
    """

    put_instances: tuple[Instance, ...] = ()
    delete_instances: tuple[str, ...] = ()
    put_deployments: tuple[Deployment, ...] = ()
    delete_deployments: tuple[str, ...] = ()
    put_nodes: tuple[Node, ...] = ()
    events: tuple[Notice, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    look_ups: tuple[ModelSource, ...] = ()
    wake_at: datetime | None = None

    @property
    def changes_records(self) -> bool:
        """Whether anything is to be written."""
        return bool(
            self.put_instances
            or self.delete_instances
            or self.put_deployments
            or self.delete_deployments
            or self.put_nodes
            or self.events
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an agent says of one assignment: the proto's ``ObservedInstance``. Generation 0 means it does not know.

    ``assignment`` is what it was told to run, of a process that is the node's own for certain and placed nowhere.
    """

    assignment_id: str
    generation: int
    state: InstanceState
    message: str = ""
    launch: RenderedLaunch | None = None
    pid: int = 0
    pid_start_ticks: int = 0
    start_time: datetime | None = None
    restart_count: int = 0
    first_failure: Failure | None = None
    last_failure: Failure | None = None
    next_try_time: datetime | None = None
    progress_bytes: int | None = None
    progress_total_bytes: int | None = None
    progress_bytes_per_second: int | None = None
    adopted: bool = False
    ports: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    instance: str = ""
    assignment: Assignment | None = field(default=None, repr=False)
    attempt: int = 0
    attempts: tuple[Attempt, ...] = ()
