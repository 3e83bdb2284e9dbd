"""What nodes run short of, in words."""

from __future__ import annotations

from motorpool import v1
from motorpool_cli import text

_BYTES = frozenset({"data_disk", "cache_disk", "memory"})


def words(condition: v1.NodeCondition, usage: v1.NodeUsage) -> str:
    """Return whether a node runs short of something, since when and why, and how much is left now."""
    now = next((each for each in usage.resources if each.resource == condition.condition), None)
    left = "" if now is None else f" ({_left(now)})"
    if not condition.pressed:
        return f"{condition.condition}: enough{left}"
    return f"{condition.condition}: PRESSED since {text.clock(condition.time)}: {condition.message}{left}"


def _left(resource: v1.ResourceUsage) -> str:
    if not resource.HasField("available"):
        return "what is left is not known"
    if resource.resource == "memory_stall":
        return f"{resource.total - resource.available} % of the last minute stalled"
    if resource.resource not in _BYTES:
        return f"{resource.available} of {resource.total} left, {resource.low} at least"
    sizes = (text.size(each) for each in (resource.available, resource.total, resource.low))
    return "{} of {} left, {} at least".format(*sizes)
