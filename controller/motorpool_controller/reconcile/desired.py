"""What a node is to run and to remove, as the records say."""

from __future__ import annotations

from dataclasses import dataclass

from motorpool_controller.domain.workload import Assignment, Instance, InstanceState, Parameter
from motorpool_controller.reconcile.gangs import member_assignment
from motorpool_controller.reconcile.world import World

__all__ = ["Assignment", "DesiredOfNode", "Parameter", "Tombstone", "desired_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """The explicit order to stop and remove an assignment, up to this generation."""

    assignment_id: str
    generation: int
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredOfNode:
    """Everything one node is told about instances, ordered by assignment id."""

    assignments: tuple[Assignment, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()


def desired_of(node: str, world: World) -> DesiredOfNode:
    """Return what ``node`` (its full name) is to run and to remove; the same records give the same answer."""
    placed = sorted(_on(node, world), key=lambda instance: instance.uid)
    known = {instance.uid for instance in placed}
    row = world.nodes.get(node)
    released = [
        Tombstone(
            assignment_id=each.assignment_id,
            generation=each.generation,
            message=each.reason or "released: it is placed nowhere",
        )
        for each in (() if row is None else row.releases)
        if each.assignment_id not in known
    ]
    return DesiredOfNode(
        assignments=tuple(
            assignment
            for instance in placed
            if instance.stop_time is None and (assignment := member_assignment(instance, node)) is not None
        ),
        tombstones=(
            *(
                Tombstone(assignment_id=instance.uid, generation=instance.generation, message=instance.stop_reason)
                for instance in placed
                if instance.stop_time is not None
            ),
            *sorted(released, key=lambda each: each.assignment_id),
        ),
    )


def _on(node: str, world: World) -> list[Instance]:
    return [
        instance
        for instance in world.instances.values()
        if instance.state is not InstanceState.PENDING
        and instance.placement is not None
        and any(member.node == node for member in instance.placement.members)
    ]
