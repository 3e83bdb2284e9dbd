"""What became of a plugin, as the agent reports it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PluginState(StrEnum):
    """What became of a plugin; the protos say more of each."""

    FOUND = "found"
    BLOCKED = "blocked"
    INCOMPATIBLE = "incompatible"
    READY = "ready"
    DEGRADED = "degraded"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginStatus:
    """One plugin of this node. ``failures`` counts crashes and missed deadlines since the agent started.

    ``deprecation`` says what to do about a plugin that works, and is made for an SDK that will be served no more.
    """

    plugin_id: str
    distribution: str
    version: str
    kind: str
    provides: str
    state: PluginState
    last_error: str = ""
    failures: int = 0
    deprecation: str = ""

    @property
    def words(self) -> str:
        """What there is to be said of it, in one paragraph; empty where there is nothing."""
        return "; ".join(filter(None, (self.last_error, self.deprecation)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginUsage:
    """What a plugin's process holds, and how long its last measurement of all devices took; None where unknown."""

    plugin_id: str
    pid: int
    resident_bytes: int | None = None
    open_files: int | None = None
    sample_seconds: float | None = None
