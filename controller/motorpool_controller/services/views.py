"""Rows as callers see them: what is stored, with what is true now and what others hold of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from motorpool import v1
from motorpool_controller.domain.backends import Offer, answers_to, own_profiles, runner_of
from motorpool_controller.domain.declarations import DeclaredBackend, Definition, profile_of, variable_arguments
from motorpool_controller.domain.fleet import Device, Node, NodeState, Profile
from motorpool_controller.domain.groups import Tally
from motorpool_controller.domain.maintenance import WHOLE, concerns
from motorpool_controller.domain.names import backend_name
from motorpool_controller.domain.secrets import without_secrets
from motorpool_controller.domain.workload import Deployment, Instance, InstanceState
from motorpool_controller.reconcile.drains import waits
from motorpool_controller.services.callers import caller
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.backend import profile_message
from motorpool_controller.services.convert.declaration import MASKED, declaration_message
from motorpool_controller.services.convert.deployment import deployment_message, revision_messages
from motorpool_controller.services.convert.device import device_message
from motorpool_controller.services.convert.instance import instance_message
from motorpool_controller.services.convert.maintenance import cordon_message
from motorpool_controller.services.convert.node import Claimed, etag, node_message, show_usage
from motorpool_controller.services.rendered import Rendered
from motorpool_controller.services.roles import Role
from motorpool_controller.store.live import Live


class Rows(Protocol):
    """What is stored, as the view has it or as a change sees it."""

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Nodes by full name."""

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """Profiles by digest."""

    @property
    def backends(self) -> Mapping[str, DeclaredBackend]:
        """Declared backends by full name."""

    @property
    def offering(self) -> tuple[str, int] | None:
        """A value that is another whenever one of these has changed; None while they are being changed."""


_NODES = Rendered(node_message)
_INSTANCES = Rendered(instance_message)

_KNOWN: dict[tuple[str, int], Mapping[str, Offer]] = {}
"""What was found last: every call that names a backend asks for it, and nodes change seldom."""


def offers(rows: Rows) -> Mapping[str, Offer]:
    """Return the backends that nodes offer or that were declared, by name; a declared one wins."""
    state = rows.offering
    if state is None:
        return _offers(rows)
    if state not in _KNOWN:
        found = MappingProxyType(_offers(rows))
        _KNOWN.clear()
        _KNOWN[state] = found
    return _KNOWN[state]


def _offers(rows: Rows) -> dict[str, Offer]:
    found = reported(rows)
    runners = tuple(name for name, node in sorted(rows.nodes.items()) if runner_of(node, rows.profiles))
    for declared in rows.backends.values():
        found[declared.backend] = Offer(profile_of(declared), runners, declared)
    return found


def reported(rows: Rows) -> dict[str, Offer]:
    """Return the backends that nodes' plugins report, by name."""
    first: dict[str, Profile] = {}
    offering: defaultdict[str, list[str]] = defaultdict(list)
    versions: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for name, node in sorted(rows.nodes.items()):
        for profile in own_profiles(node, rows.profiles):
            first.setdefault(profile.backend, profile)
            offering[profile.backend].append(name)
            versions[profile.backend] |= dict.fromkeys(version.version for version in profile.versions)
    return {
        backend: Offer(profile, tuple(offering[backend]), versions=tuple(versions[backend]))
        for backend, profile in first.items()
    }


def offer_of(found: Mapping[str, Offer], backend: str) -> Offer | None:
    """Return the backend of this name or alias; a name wins over an alias."""
    if backend in found:
        return found[backend]
    return next((offer for _, offer in sorted(found.items()) if answers_to(offer.profile, backend)), None)


def claimed_on(node: str, instances: Iterable[Instance]) -> Claimed:
    """Return what instances hold of a node."""
    memory = 0
    devices: defaultdict[str, int] = defaultdict(int)
    for instance in instances:
        for member in () if instance.placement is None else instance.placement.members:
            if member.node == node:
                memory += member.claim.memory_bytes
                for device in member.claim.devices:
                    devices[device.device_id] += device.memory_bytes
    return Claimed(memory_bytes=memory, devices=devices)


OfDeployment = Callable[[str], Mapping[str, Instance]]
"""Gives the instances of a deployment."""


def node_view(node: Node, live: Live, instances: Iterable[Instance], of: OfDeployment) -> v1.Node:
    """Return a node as callers see it; ``instances`` are those on it."""
    message = v1.Node()
    show_node(message, node, live, instances, of)
    return message


def show_node(message: v1.Node, node: Node, live: Live, instances: Iterable[Instance], of: OfDeployment) -> None:
    """Write a node as callers see it into an empty message: that of an answer, where there are many."""
    there = list(instances)
    if node.cordoned or node.cordoned_devices:
        keys = {*node.cordoned_devices, *([WHOLE] if node.cordoned else [])}
        message.CopyFrom(node_message(node, {key: _cordon(node, key, there, of) for key in keys}))
    else:
        _NODES.show(message, node)
    suspicion = live.suspicion(node.name) if node.state is NodeState.READY else ""
    if suspicion:
        message.state, message.state_message = v1.NODE_STATE_SUSPECT, suspicion
    message.claimed_memory_bytes = claimed_on(node.name, there).memory_bytes
    usage, heartbeat_time = live.usage(node.name), live.heartbeat_time(node.name)
    if usage is not None:
        show_usage(message.usage, usage)
    if heartbeat_time is not None:
        fields.set_time(message.heartbeat_time, heartbeat_time)


def device_view(node: Node, device: Device, instances: Iterable[Instance], of: OfDeployment) -> v1.Device:
    """Return a device of a node as callers see it; ``instances`` are those on the node."""
    shut = device.device_id in node.cordoned_devices
    return device_message(node.name, device, _cordon(node, device.device_id, instances, of) if shut else None)


def _cordon(node: Node, device_id: str, instances: Iterable[Instance], of: OfDeployment) -> v1.Cordon:
    cordon = node.cordons.get(device_id)
    drain = None if cordon is None else cordon.drain
    if drain is None or drain.complete_time is not None:
        return cordon_message(cordon)
    return cordon_message(cordon, waits(drain, [each for each in instances if concerns(node, device_id, each)], of))


def backend_view(offer: Offer) -> v1.Backend:
    """Return a backend as the caller sees it; readers see no values of a declared environment."""
    return backend_message(offer, masked=not caller().role.reaches(Role.OPERATOR))


def backend_message(offer: Offer, *, masked: bool) -> v1.Backend:
    """Return a backend as a message; ``masked`` hides the values of a declared environment."""
    message = v1.Backend(
        name=backend_name(offer.profile.backend), profile=profile_message(offer.profile), nodes=offer.nodes
    )
    if offer.declared is not None:
        message.declaration.CopyFrom(declaration_message(offer.declared.declaration, masked=masked))
        message.etag = etag(offer.declared.revision)
        message.create_time.FromDatetime(offer.declared.create_time)
        message.update_time.FromDatetime(offer.declared.update_time)
    return message


def deployment_view(deployment: Deployment, tally: Tally) -> v1.Deployment:
    """Return a deployment as the caller sees it: environment and parameters may have secrets, and readers see none."""
    message = deployment_message(deployment, tally)
    _mask_environment(message.spec)
    return message


def revision_views(deployment: Deployment, tally: Tally) -> list[v1.DeploymentRevision]:
    """Return the specs that a deployment had as the caller sees them; see ``deployment_view``."""
    messages = revision_messages(deployment, tally)
    for message in messages:
        _mask_environment(message.spec)
    return messages


def instance_view(instance: Instance, live: Live) -> v1.Instance:
    """Return an instance as the caller sees it; see ``deployment_view``. How far a download came, its nodes told."""
    message = v1.Instance()
    show_instance(message, instance, live)
    return message


def show_instance(message: v1.Instance, instance: Instance, live: Live) -> None:
    """Write an instance as the caller sees it into an empty message: that of an answer, where there are many."""
    _INSTANCES.show(message, instance)
    if instance.state is InstanceState.DOWNLOADING:
        _show_progress(message, instance, live)
    assignment = instance.assignment
    if assignment is not None and not caller().role.reaches(Role.OPERATOR):
        definition = assignment.definition
        theirs = assignment.env.keys() | (set() if definition is None else definition.env.keys())
        for name in theirs & message.launch.env.keys():
            message.launch.env[name] = MASKED
        if definition is not None:
            _mask_arguments(message.launch, definition)


def _show_progress(message: v1.Instance, instance: Instance, live: Live) -> None:
    members = () if instance.placement is None else instance.placement.members
    reports = [each for member in members for each in live.reports(member.node) if each.assignment_id == instance.uid]
    counted = [each for each in reports if each.progress_bytes is not None]
    if counted:
        message.progress_bytes = sum(each.progress_bytes or 0 for each in counted)
        message.progress_total_bytes = sum(each.progress_total_bytes or 0 for each in counted)
    speeds = [each.progress_bytes_per_second for each in counted if each.progress_bytes_per_second is not None]
    if speeds:
        message.progress_bytes_per_second = sum(speeds)


def _mask_environment(spec: v1.DeploymentSpec) -> None:
    if not caller().role.reaches(Role.OPERATOR):
        for name in list(spec.env):
            spec.env[name] = MASKED
        spec.parameters[:] = without_secrets(spec.parameters, MASKED)


def _mask_arguments(launch: v1.RenderedLaunch, definition: Definition) -> None:
    """Hide the arguments that a variable of an environment went into."""
    hidden = variable_arguments(definition, own_image=bool(definition.image))
    for index, (_, hide) in enumerate(zip(launch.argv, hidden, strict=False)):
        if hide:
            launch.argv[index] = MASKED
