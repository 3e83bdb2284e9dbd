"""What a decision reads: the fleet at one moment, and what is asked of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from motorpool_controller.domain.fleet import Node, NodeState, NodeUsage, Profile
from motorpool_controller.domain.hub_files import HubModel
from motorpool_controller.domain.names import id_of
from motorpool_controller.domain.peak import Peak
from motorpool_controller.domain.placement import Claim
from motorpool_controller.domain.workload import DeploymentSpec, Instance, ModelSource
from motorpool_formats.facts import ModelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A node's answer about the model at a path: its facts, or why there are none. Of a hub, what was ``found``.

    ``late``: it was asked, and has not answered in time.
    """

    facts: ModelFacts | None = None
    found: HubModel | None = None
    error_reason: str = ""
    error_message: str = ""
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The fleet at one moment. ``instances`` are all there are: those with a placement hold their claims.

    Keys: full names of nodes and instances, digests of profiles, (full name of the node, path) of readings, names of
    kinds of peaks, names and aliases of ``declared`` backends as ``wanted_backend`` says them. A node without ``usage``
    has not been measured yet. ``hub_models`` are what was found on hubs, by place, and the same for every node.
    ``files`` are the nodes that are known to have a model's files; of a model that is not in it, those that have read
    it at its path.
    """

    nodes: Mapping[str, Node]
    profiles: Mapping[str, Profile]
    instances: Mapping[str, Instance] = field(default_factory=dict)
    usage: Mapping[str, NodeUsage] = field(default_factory=dict)
    readings: Mapping[tuple[str, str], Reading] = field(default_factory=dict)
    peaks: Mapping[str, Peak] = field(default_factory=dict)
    hub_models: Mapping[str, Reading] = field(default_factory=dict)
    files: Mapping[ModelSource, frozenset[str]] = field(default_factory=dict)
    declared: Mapping[str, Profile] = field(default_factory=dict)

    def answer(self, node: str, place: str) -> Reading:
        """Return what is known of a model at a node's path, or on a hub."""
        return self.hub_models.get(place) or self.readings.get((node, place), Reading())


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """Keys of all that may have changed since an earlier moment: of nodes, instances, usage and readings."""

    nodes: frozenset[str] = frozenset()
    instances: frozenset[str] = frozenset()
    usage: frozenset[str] = frozenset()
    readings: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One instance that wants a place. ``name`` and ``deployment`` are full names."""

    name: str
    deployment: str
    spec: DeploymentSpec


def suspecting(nodes: Mapping[str, Node], suspect: Collection[str]) -> Mapping[str, Node]:
    """Return the nodes, those of them SUSPECT that are named and ready."""
    known = [nodes[name] for name in suspect if name in nodes and nodes[name].state is NodeState.READY]
    return {**nodes, **{node.name: replace(node, state=NodeState.SUSPECT) for node in known}} if known else nodes


def wished(deployment: str, spec: DeploymentSpec) -> list[Request]:
    """Return the requests of a deployment that is placed anew; one where it wishes for none."""
    return [
        Request(name=f"instances/{id_of(deployment)}-{number}", deployment=deployment, spec=spec)
        for number in range(1, max(spec.replicas, 1) + 1)
    ]


def without(snapshot: Snapshot, instance: Instance) -> Snapshot:
    """Return the fleet as it would be had the instance stopped: its claims gone, and the memory it uses free."""
    usage = dict(snapshot.usage)
    for member in () if instance.placement is None else instance.placement.members:
        if member.node in usage:
            usage[member.node] = _freed(usage[member.node], member.claim)
    standing = {name: each for name, each in snapshot.instances.items() if name != instance.name}
    return replace(snapshot, instances=standing, usage=usage)


def _freed(usage: NodeUsage, claim: Claim) -> NodeUsage:
    host = min(claim.memory_bytes, usage.memory_own_bytes or 0)
    claims = {part.device_id: part.memory_bytes for part in claim.devices}
    return replace(
        usage,
        memory_own_bytes=_less(usage.memory_own_bytes, host),
        memory_used_bytes=_less(usage.memory_used_bytes, host),
        memory_available_bytes=_less(usage.memory_available_bytes, -host),
        devices=tuple(
            replace(
                device,
                own_bytes=_less(device.own_bytes, freed),
                used_bytes=_less(device.used_bytes, freed),
            )
            for device in usage.devices
            for freed in [min(claims.get(device.device_id, 0), device.own_bytes or 0)]
        ),
    )


def _less(size_bytes: int | None, by: int) -> int | None:
    return None if size_bytes is None else size_bytes - by
