"""Events."""

from __future__ import annotations

from motorpool import v1
from motorpool_controller.domain.event import Event
from motorpool_controller.services.convert import fields


def event_message(event: Event) -> v1.Event:
    """Return an event as a message."""
    return v1.Event(
        name=event.name,
        time=fields.timestamp(event.time),
        severity=fields.number(v1.Severity, "SEVERITY", event.severity),
        reason=event.reason,
        subject=event.subject,
        message=event.message,
        count=event.count,
        first_time=fields.timestamp(event.first_time),
    )
