"""Where an instance stands in the trace of its deployment: worked out, not drawn, as whoever decides is pure.

So the span that caused something can be named before it ended, by whoever decides and by who was restarted meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

from motorpool_telemetry.traces import child


@dataclass(frozen=True, slots=True)
class Places:
    """Where the steps of an instance stand in the trace of its deployment: each below the one before it."""

    scheduled: str
    assigned: str


def places_of(deployed: str, uid: str) -> Places:
    """Return those of an instance, by its uid and the place of its deployment's call."""
    scheduled = child(deployed, "schedule", uid)
    return Places(scheduled, child(scheduled, "assign", uid))
