"""What nodes run and no record places there, and the instance of a deployment that it becomes when it is adopted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from motorpool_controller.domain.backends import declared_profiles, normal
from motorpool_controller.domain.declarations import DeclaredBackend
from motorpool_controller.domain.fleet import Node, Profile, StartOrder
from motorpool_controller.domain.pinning import pinned
from motorpool_controller.domain.placement import Member, Placement
from motorpool_controller.domain.workload import (
    Assignment,
    Deployment,
    Gang,
    GangPhase,
    Instance,
    InstanceState,
    MemberRun,
)
from motorpool_controller.reconcile.world import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a node runs: what it says of it, and what it was told to run.

    Over several nodes it is the leader's, and ``others`` are its members on the others, by rank.
    """

    node: Node
    report: Report
    assignment: Assignment
    others: tuple[Found, ...] = ()

    @property
    def backend(self) -> str:
        """The backend as its users know it."""
        definition = self.assignment.definition
        return self.assignment.backend if definition is None else definition.backend

    @property
    def members(self) -> tuple[Found, ...]:
        """All of it, the leader first."""
        return (self, *self.others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Where it is to belong: its deployment with all its instances, all that is placed on its nodes, and backends."""

    deployment: Deployment
    siblings: Sequence[Instance]
    beside: Sequence[Instance]
    profiles: Mapping[str, Profile]
    declared: Mapping[str, DeclaredBackend]

    def profile(self, found: Found) -> Profile | None:
        """Return what its backend says of itself, where its node offers it now."""
        if found.assignment.definition is not None:
            return declared_profiles(self.declared).get(normal(found.backend))
        return self.profiles.get(found.node.profiles.get(found.backend, ""))


def waiting(around: Around, uid: str) -> Instance | None:
    """Return the instance whose place in the deployment it takes: one that has none on any node, the youngest."""
    standing = [each for each in around.siblings if not each.leaves and each.uid != uid]
    unplaced = [each for each in standing if each.placement is None]
    if len(standing) < around.deployment.spec.replicas or not unplaced:
        return None
    return max(unplaced, key=lambda each: (each.create_time, each.name))


def is_full(around: Around, uid: str) -> bool:
    """Return whether the deployment has all that it wishes for, each with a place."""
    standing = [each for each in around.siblings if not each.leaves and each.uid != uid]
    return len([each for each in standing if each.placement is not None]) >= around.deployment.spec.replicas


def adopted(found: Found, around: Around, now: datetime, *, overcommitted: bool = False) -> Instance:
    """Return the instance that it is from now on; its nodes say the rest once they were told."""
    deployment, report = around.deployment, found.report
    placement = replace(placement_of(found), overcommitted=overcommitted)
    model = pinned(deployment, deployment.spec).model
    nodes = " and ".join(member.node.name for member in found.members)
    return Instance(
        name=found.assignment.instance,
        uid=found.assignment.assignment_id,
        deployment=deployment.name,
        deployment_generation=deployment.generation,
        template_generation=deployment.template_generation,
        generation=report.generation,
        create_time=now,
        state=InstanceState.STARTING,
        state_time=now,
        state_message=f"adopted as it runs; {nodes} {'are' if found.others else 'is'} told to keep it",
        placement=placement,
        assignment=replace(
            found.assignment,
            deployment=deployment.name,
            generation=report.generation,
            overcommitted=overcommitted,
            model=model if model.commit else found.assignment.model,
            # Of the cache in host memory its node knows only what its engine was told.
            extended_kv_cache=deployment.spec.extended_kv_cache,
            gang_phase=None,
            gang=tuple(replace(member, ports={}) for member in found.assignment.gang),
        ),
        launch=report.launch,
        pid=report.pid,
        pid_start_ticks=report.pid_start_ticks,
        start_time=report.start_time,
        restart_count=report.restart_count,
        first_failure=report.first_failure,
        last_failure=report.last_failure,
        adopted=True,
        gang=_gang(found, around) if found.others else None,
    )


def placement_of(found: Found) -> Placement:
    """Return where it runs, as the decision that placed it said."""
    told = found.assignment
    return Placement(
        members=tuple(
            Member(node=member.node.name, claim=member.assignment.claim, rank=member.assignment.rank)
            for member in found.members
        ),
        framework=told.framework,
        backend=found.backend,
        backend_version=told.backend_version,
        offloaded_layers=told.offloaded_layers,
        context_length=told.context_length,
        parallel=told.parallel,
        memory_fraction=told.memory_fraction,
        tensor_split=told.tensor_split,
        style=told.gang_style,
        parallelism=told.parallelism,
    )


def _gang(found: Found, around: Around) -> Gang:
    """Return its members, who all were told to run, and everybody's ports."""
    profile = around.profile(found)
    ports = {member.rank: member.ports for member in found.assignment.gang}
    return Gang(
        members=tuple(
            MemberRun(
                node=member.node.name,
                rank=member.assignment.rank,
                told=GangPhase.RUN,
                state=InstanceState.STARTING,
                ports=ports[member.assignment.rank],
                parts=member.report.parts,
                launch=member.report.launch,
                pid=member.report.pid,
                pid_start_ticks=member.report.pid_start_ticks,
                start_time=member.report.start_time,
                adopted=True,
            )
            for member in found.members
        ),
        order=StartOrder.TOGETHER if profile is None else profile.start_order(found.assignment.gang_style),
    )
