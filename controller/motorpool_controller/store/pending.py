"""What a batch of changes is going to write, all of it in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field

from motorpool_controller.domain.declarations import DeclaredBackend
from motorpool_controller.domain.event import Event
from motorpool_controller.domain.fleet import Node, Profile
from motorpool_controller.domain.peak import Peak
from motorpool_controller.domain.workload import Deployment, Instance
from motorpool_controller.store.rows import StoredAnswer


@dataclass(frozen=True, slots=True)
class Change:
    """One object that a revision changed. ``kind`` is nodes, deployments, instances, profiles, backends or events."""

    revision: int
    kind: str
    name: str
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class TokenUse:
    """A use of a join token, counted with the node that it made."""

    token_id: str
    node_uid: str


@dataclass(slots=True)
class Pending:
    """The last value of everything that the batch changes; None for what it removes."""

    revision: int
    nodes: dict[str, Node | None] = field(default_factory=dict)
    deployments: dict[str, Deployment | None] = field(default_factory=dict)
    instances: dict[str, Instance | None] = field(default_factory=dict)
    profiles: dict[str, Profile | None] = field(default_factory=dict)
    peaks: dict[str, Peak | None] = field(default_factory=dict)
    backends: dict[str, DeclaredBackend | None] = field(default_factory=dict)
    events: dict[str, Event | None] = field(default_factory=dict)
    answers: dict[str, StoredAnswer | None] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    token_uses: list[TokenUse] = field(default_factory=list)
    latest_events: dict[str, str] = field(default_factory=dict)
    """Name of the last event of each subject."""
    changes_since: int | None = None
    """Forget changes up to this revision."""
