"""Rows as callers see them: what is stored, with what is true now and what others hold of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from motorpool import v1
from motorpool_controller.domain.backends import answers_to
from motorpool_controller.domain.fleet import Node, Profile
from motorpool_controller.domain.workload import Deployment, Instance
from motorpool_controller.services.authentication import caller
from motorpool_controller.services.convert.deployment import deployment_message
from motorpool_controller.services.convert.instance import instance_message
from motorpool_controller.services.convert.node import Claimed, node_message
from motorpool_controller.services.roles import Role
from motorpool_controller.store.live import Live

MASKED = "***"


@dataclass(frozen=True, slots=True)
class Offer:
    """A backend and the full names of the nodes that offer it; the profile is that of the first."""

    profile: Profile
    nodes: tuple[str, ...]


def offers(nodes: Mapping[str, Node], profiles: Mapping[str, Profile]) -> dict[str, Offer]:
    """Return the backends that nodes offer, by name."""
    found: dict[str, Offer] = {}
    for name, node in sorted(nodes.items()):
        for backend, digest in node.profiles.items():
            profile = profiles.get(digest)
            if profile is None:
                continue
            before = found.get(backend)
            found[backend] = Offer(profile, (name,)) if before is None else Offer(before.profile, (*before.nodes, name))
    return found


def offer_of(found: Mapping[str, Offer], backend: str) -> Offer | None:
    """Return the backend of this name or alias; a name wins over an alias."""
    if backend in found:
        return found[backend]
    return next((offer for _, offer in sorted(found.items()) if answers_to(offer.profile, backend)), None)


def claims(instances: Iterable[Instance]) -> dict[str, Claimed]:
    """Return what all instances hold, by full name of node."""
    memory: defaultdict[str, int] = defaultdict(int)
    devices: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for instance in instances:
        for member in () if instance.placement is None else instance.placement.members:
            memory[member.node] += member.claim.memory_bytes
            for device in member.claim.devices:
                devices[member.node][device.device_id] += device.memory_bytes
    return {node: Claimed(memory_bytes=memory[node], devices=devices[node]) for node in memory}


def node_view(node: Node, live: Live, claimed: Mapping[str, Claimed]) -> v1.Node:
    """Return a node as callers see it."""
    return node_message(
        node,
        claimed=claimed.get(node.name, Claimed()),
        usage=live.usage(node.name),
        heartbeat_time=live.heartbeat_time(node.name),
    )


def deployment_view(deployment: Deployment, instances: Iterable[Instance]) -> v1.Deployment:
    """Return a deployment as the caller sees it: values of its environment may be secrets, and readers see none."""
    message = deployment_message(deployment, instances)
    if not caller().role.reaches(Role.OPERATOR):
        for name in deployment.spec.env:
            message.spec.env[name] = MASKED
    return message


def instance_view(instance: Instance) -> v1.Instance:
    """Return an instance as the caller sees it; see ``deployment_view``."""
    message = instance_message(instance)
    if instance.assignment is not None and not caller().role.reaches(Role.OPERATOR):
        for name in instance.assignment.env.keys() & message.launch.env.keys():
            message.launch.env[name] = MASKED
    return message


def of_deployment(instances: Iterable[Instance], deployment: str) -> Iterator[Instance]:
    """Return the instances of a deployment (its full name)."""
    return (instance for instance in instances if instance.deployment == deployment)


def is_on(instance: Instance, node: str) -> bool:
    """Return whether an instance is placed on a node (its full name)."""
    return instance.placement is not None and any(member.node == node for member in instance.placement.members)
