"""Cordons and drains in words."""

from __future__ import annotations

from collections.abc import Iterator

from motorpool import v1
from motorpool_cli import text


def state(node: v1.Node) -> str:
    """Return a node's state, and whether it is banned, pressed, cordoned, drained or on its way to that."""
    banned = " (banned)" if node.HasField("ban") else ""
    pressed = " (pressed)" if any(each.pressed for each in node.conditions) else ""
    return text.word(v1.NodeState, node.state) + banned + pressed + suffix(node.cordon if node.cordoned else None)


def suffix(cordon: v1.Cordon | None) -> str:
    """Return what follows the state of what is cordoned; None for what is not."""
    return "" if cordon is None else f" ({word(cordon)})"


def word(cordon: v1.Cordon) -> str:
    """Return cordoned, draining or drained."""
    return text.word(v1.DrainState, cordon.drain.state).lower() if cordon.HasField("drain") else "cordoned"


def why(cordon: v1.Cordon) -> str:
    """Return what for and by whom, as far as it is known."""
    told = cordon.drain if cordon.HasField("drain") else cordon
    by = f"by {told.actor}" if told.actor else ""
    return f"{told.reason} ({by})" if told.reason and by else told.reason or by or "no reason given"


def moved(drain: v1.Drain) -> str:
    """Return how many of how many instances are gone."""
    return f"{drain.total_instances - drain.remaining_instances} of {drain.total_instances} moved"


def banned(node: v1.Node) -> str:
    """Return who banned a node, why and since when; empty where nobody did."""
    ban = node.ban
    return (
        f"{_told(ban.reason, ban.actor)}, since {text.clock(ban.create_time)}".strip() if node.HasField("ban") else ""
    )


def facts(what: str, cordon: v1.Cordon) -> Iterator[tuple[str, str]]:
    """Give the whole of a cordon: since when, who, why; the drain, and what each instance waits for."""
    since = f", since {text.clock(cordon.create_time)}" if cordon.HasField("create_time") else ""
    yield "Cordoned", f"{what}{_told(cordon.reason, cordon.actor)}{since}"
    drain = cordon.drain
    if not cordon.HasField("drain"):
        return
    until = f", at the latest at {text.clock(drain.deadline_time)}" if drain.HasField("deadline_time") else ""
    done = f", done {text.clock(drain.complete_time)}" if drain.HasField("complete_time") else until
    yield (
        "Drain",
        f"{what}{_told(drain.reason, drain.actor)}, since {text.clock(drain.create_time)}: {moved(drain)}{done}",
    )
    for wait in drain.waits:
        yield "Waits", waited(wait)


def replaced(drain: v1.Drain) -> str:
    """Return by whom and why an instance is to be replaced."""
    until = f", at the latest at {text.clock(drain.deadline_time)}" if drain.HasField("deadline_time") else ""
    return f"it is to be replaced{_told(drain.reason, drain.actor)}, since {text.clock(drain.create_time)}{until}"


def waited(wait: v1.DrainWait) -> str:
    """Return what an instance that is moved away waits for."""
    return f"{text.bare(wait.instance)}: {wait.message}"


def _told(reason: str, actor: str) -> str:
    return (f" by {actor}" if actor else "") + (f": {reason}" if reason else "")
