"""What operators set on nodes, devices and instances: cordons and drains, with who did it, why and until when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from motorpool_controller.domain.errors import NotFoundError
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Ban, Cordon, Drain, Node
from motorpool_controller.domain.maintenance import (
    WHOLE,
    concerns,
    cordoned,
    is_cordoned,
    subject_of,
    uncordoned,
    why_cordoned,
    why_drained,
)
from motorpool_controller.domain.names import device_of, resource_id, shown
from motorpool_controller.domain.workload import Instance
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.maintenance import reason_of
from motorpool_controller.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Place:
    """A node, or a device of it (its id; else empty)."""

    node: str
    device_id: str


def place_of(name: str) -> Place:
    """Return the node or device of a full name."""
    if "/devices/" in name:
        return Place(*device_of(name, "name"))
    resource_id(name, "nodes")
    return Place(name, WHOLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an operator said: why, and how long instances without another place stay, for ever where that is None."""

    actor: str
    reason: str
    wait_seconds: float | None = None

    def deadline(self, now: datetime) -> datetime | None:
        """Return when instances go all the same."""
        return None if self.wait_seconds is None else now + timedelta(seconds=self.wait_seconds)


def order_of(actor: str, reason: str, deadline: Duration | None = None) -> Order:
    """Return what an operator said; raise what is wrong with it."""
    seconds = None
    if deadline is not None:
        seconds = fields.bounded_seconds_of(deadline, "deadline_timeout")
        if seconds < 0:
            raise fields.invalid("deadline_timeout", f"{seconds:g} s are less than none; leave it out to wait for ever")
    return Order(actor=actor, reason=reason_of(reason), wait_seconds=seconds)


def cordon(tx: Transaction, node: Node, place: Place, order: Order) -> Node:
    """Cordon a node or device; a drain that goes on stays."""
    _check_there(node, place)
    before = node.cordons.get(place.device_id)
    stands = is_cordoned(node, place.device_id)
    if stands and before is not None and (before.reason, before.actor) == (order.reason, order.actor):
        return node
    drain = None if before is None else before.drain
    made = Cordon(time=tx.now, reason=order.reason, actor=order.actor, drain=drain)
    changed = tx.nodes.put(cordoned(node, place.device_id, made))
    kind, what = ("DEVICE", subject_of(node.name, place.device_id)) if place.device_id else ("NODE", node.name)
    why = why_cordoned(changed, place.device_id)
    tx.event(Severity.INFO, f"{kind}_CORDONED", node.name, f"{what} is cordoned{why}. What runs there goes on.")
    return changed


def uncordon(tx: Transaction, node: Node, place: Place, actor: str) -> Node:
    """Take a cordon back, and with it a drain; what was moved stays where it is."""
    _check_there(node, place)
    if not is_cordoned(node, place.device_id):
        return node
    before = node.cordons.get(place.device_id)
    changed = tx.nodes.put(uncordoned(node, place.device_id))
    kind, what = ("DEVICE", subject_of(node.name, place.device_id)) if place.device_id else ("NODE", node.name)
    by = f" again, says {actor}" if actor else " again"
    ended = before is not None and before.drain is not None and before.drain.complete_time is None
    tx.event(
        Severity.INFO,
        f"{kind}_UNCORDONED",
        node.name,
        f"{what} takes work{by}.{' Its drain has ended; what is there stays.' if ended else ''}",
    )
    return changed


def ban(tx: Transaction, node: Node, order: Order) -> Node:
    """Have a node's certificates count for nothing."""
    before = node.ban
    if before is not None and (before.reason, before.actor) == (order.reason, order.actor):
        return node
    changed = tx.nodes.put(replace(node, ban=Ban(time=tx.now, reason=order.reason, actor=order.actor)))
    by = f" by {order.actor}" if order.actor else ""
    why = f": {order.reason.rstrip('. ')}" if order.reason else ""
    message = f"{node.name} is banned{by}{why}. Its session ends, and its certificates are refused."
    tx.event(Severity.WARNING, "NODE_BANNED", node.name, message)
    return changed


def unban(tx: Transaction, node: Node, actor: str) -> Node:
    """Have a node's certificates count again."""
    if node.ban is None:
        return node
    by = f", says {actor}" if actor else ""
    tx.event(Severity.WARNING, "NODE_UNBANNED", node.name, f"{node.name} may come back{by}.")
    return tx.nodes.put(replace(node, ban=None))


def drain(tx: Transaction, node: Node, place: Place, order: Order) -> Node:
    """Cordon a node or device, and have what is there moved away; one that goes on takes the new words and deadline."""
    _check_there(node, place)
    before = node.cordons.get(place.device_id)
    going = None if before is None or before.drain is None or before.drain.complete_time else before.drain
    there = [each for each in tx.instances_on(node.name).values() if concerns(node, place.device_id, each)]
    made = Drain(
        time=tx.now if going is None else going.time,
        reason=order.reason,
        actor=order.actor,
        deadline_time=order.deadline(tx.now),
        total=len(there) if going is None else going.total,
    )
    stands = is_cordoned(node, place.device_id)
    kept = before if stands and before is not None else Cordon(time=tx.now, reason=order.reason, actor=order.actor)
    changed = tx.nodes.put(cordoned(node, place.device_id, replace(kept, drain=made)))
    what = subject_of(node.name, place.device_id)
    tx.event(
        Severity.INFO,
        "DRAINING",
        node.name,
        f"{what} is drained{why_drained(made)}. {_number(there)}{_until(made)}.",
    )
    return changed


def drain_instance(tx: Transaction, instance: Instance, order: Order) -> Instance:
    """Have an instance replaced; a drain that goes on takes the new reason and deadline."""
    made = Drain(
        time=tx.now if instance.drain is None else instance.drain.time,
        reason=order.reason,
        actor=order.actor,
        deadline_time=order.deadline(tx.now),
    )
    message = f"{instance.name} is drained{why_drained(made)}. Another one is to stand in for it{_until(made)}."
    tx.event(Severity.INFO, "DRAINING", instance.name, message)
    return tx.instances.put(replace(instance, drain=made))


def undrain_instance(tx: Transaction, instance: Instance, actor: str) -> Instance:
    """Have an instance stay."""
    if instance.drain is None:
        return instance
    tx.event(Severity.INFO, "UNDRAINED", instance.name, f"{instance.name} stays{f', says {actor}' if actor else ''}.")
    return tx.instances.put(replace(instance, drain=None))


def _number(there: list[Instance]) -> str:
    if not there:
        return "Nothing is on it"
    return "1 instance is to be moved away" if len(there) == 1 else f"{len(there)} instances are to be moved away"


def _until(drain: Drain) -> str:
    if drain.deadline_time is None:
        return ""
    return f"; what has no other place is stopped at {drain.deadline_time:%Y-%m-%d %H:%M:%S} UTC"


def _check_there(node: Node, place: Place) -> None:
    if place.device_id == WHOLE or is_cordoned(node, place.device_id):
        return
    if all(device.device_id != place.device_id for device in node.devices):
        there = ", ".join(device.device_id for device in node.devices[:8]) or "none"
        raise NotFoundError(
            "NOT_FOUND",
            f"{node.name} has no device {shown(place.device_id)}; it has {there}: `motorpool devices` lists them",
        )
