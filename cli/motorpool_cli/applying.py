"""What it takes to make a cluster as documents say, checked by the controller before anything of it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from motorpool import v1
from motorpool_cli import declarations, failures, text
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.documents import Problem
from motorpool_cli.failures import Exit
from motorpool_cli.lists import list_backends, list_deployments, list_nodes
from motorpool_cli.manifests import KINDS, MASKED, Manifest, backend_wish, deployment_wish, masked, unmask

Wish = dict[str, Any]
# What is wrong with a document, not with the connection.
_OF_A_DOCUMENT = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
    }
)


@dataclass(slots=True)
class Change:
    """One object that is to become another one. ``send`` asks for it, or has it checked."""

    name: str
    before: Wish | None
    after: Wish | None
    send: Callable[[bool], Wish | None]
    manifest: Manifest | None = None

    @property
    def what(self) -> str:
        """created, changed, deleted, or unchanged."""
        if self.before is None:
            return "created"
        if self.after is None:
            return "deleted"
        return "changed" if self.before != self.after else "unchanged"

    def fields(self) -> list[tuple[str, str, str]]:
        """Return each field that differs: what it is, before, after. Secrets differ without being said."""
        before, after = dict(_flat(self.before or {})), dict(_flat(self.after or {}))
        return [
            (name, _said(name, before.get(name)), _said(name, after.get(name)))
            for name in dict.fromkeys([*before, *after])
            if before.get(name) != after.get(name)
        ]


@dataclass(slots=True)
class Changes:
    """All that is to be done, in its order, and what is left out."""

    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def changes(connected: Client, manifests: Sequence[Manifest], *, prune: bool) -> Changes:
    """Return what there is to do, once the controller found nothing wrong in any of it."""
    backends = {each.name: each for each in list_backends(connected) if each.HasField("declaration")}
    nodes = {each.name: each for each in list_nodes(connected)}
    deployments = {each.name: each for each in list_deployments(connected)}
    present: Mapping[str, Mapping[str, Any]] = {"Backend": backends, "Node": nodes, "Deployment": deployments}
    result, problems = Changes(), []
    for manifest in manifests:
        problems += unmask(manifest, present[manifest.kind].get(manifest.name))
        if manifest.kind == "Backend":
            result.changes.append(_backend(connected, manifest, backends.get(manifest.name)))
        elif manifest.kind == "Deployment":
            result.changes.append(_deployment(connected, manifest, deployments.get(manifest.name)))
        elif manifest.name in nodes:
            result.changes += _node(connected, manifest, nodes[manifest.name], result.notes)
        else:
            result.notes.append(f"{manifest.name} has not joined this cluster and is left out; apply again when it has")
    if prune:
        result.changes += _pruned(connected, manifests, present)
    problems += _check(result, {text.bare(each.name) for each in manifests if each.kind == "Backend"})
    if problems:
        raise declarations.invalid(Exit.INVALID, problems, "nothing was changed", "DOCUMENT_INVALID")
    return result


def carry_out(todo: Sequence[Change]) -> None:
    """Do it, one after another; say how far it came where the controller, having checked it all, refuses one after all.

    A backend that is declared before its deployments may change what is said of them.
    """
    for number, change in enumerate(todo):
        try:
            change.after = change.send(False)
        except grpc.RpcError as error:
            if change.manifest is None or failures.code(error) not in _OF_A_DOCUMENT:
                raise
            done = f"{number} of {len(todo)} changes were made before it; mend it and apply again"
            problems = [change.manifest.problem(*fault) for fault in failures.faults(error)]
            raise declarations.invalid(Exit.INVALID, problems, done, "DOCUMENT_INVALID") from None


def _check(result: Changes, declared: set[str]) -> list[Problem]:
    problems: list[Problem] = []
    for change in list(result.changes):
        try:
            change.after = change.send(True)
        except grpc.RpcError as error:
            reason = failures.reason(error)
            if change.manifest is None and reason == "BACKEND_IN_USE":
                result.changes.remove(change)
                result.notes.append(f"{change.name} is in use still; apply again when what uses it is gone")
            elif reason == "BACKEND_UNKNOWN" and _backend_of(change) in declared:
                continue  # it is declared by the same files, before this is sent
            elif change.manifest is None or failures.code(error) not in _OF_A_DOCUMENT:
                raise
            else:
                problems += [change.manifest.problem(*fault) for fault in failures.faults(error)]
    return problems


def _backend_of(change: Change) -> str:
    return "" if change.manifest is None else str(change.manifest.message.spec.backend)


def _backend(connected: Client, manifest: Manifest, before: v1.Backend | None) -> Change:
    def send(validate_only: bool) -> Wish:
        request = v1.UpdateBackendRequest(backend=manifest.message, allow_missing=True, validate_only=validate_only)
        request.backend.etag = ""
        return backend_wish(connected.backends.UpdateBackend(request, timeout=TIMEOUT_SECONDS))

    return _change(manifest, None if before is None else backend_wish(before), send)


def _deployment(connected: Client, manifest: Manifest, before: v1.Deployment | None) -> Change:
    def send(validate_only: bool) -> Wish:
        if before is None:
            created = v1.CreateDeploymentRequest(
                deployment_id=text.bare(manifest.name), deployment=manifest.message, validate_only=validate_only
            )
            return deployment_wish(connected.deployments.CreateDeployment(created, timeout=TIMEOUT_SECONDS))
        updated = v1.UpdateDeploymentRequest(deployment=manifest.message, validate_only=validate_only)
        updated.update_mask.paths.append("spec")
        return deployment_wish(connected.deployments.UpdateDeployment(updated, timeout=TIMEOUT_SECONDS))

    return _change(manifest, None if before is None else deployment_wish(before), send)


def _node(connected: Client, manifest: Manifest, before: v1.Node, notes: list[str]) -> Iterator[Change]:
    """Yield what changes labels, and then each cordon."""
    after: v1.Node = manifest.message
    if dict(before.labels) != dict(after.labels):

        def label(validate_only: bool) -> Wish:
            request = v1.UpdateNodeRequest(
                node=v1.Node(name=before.name, labels=after.labels), validate_only=validate_only
            )
            request.update_mask.paths.append("labels")
            answer = connected.nodes.UpdateNode(request, timeout=TIMEOUT_SECONDS)
            return {"name": before.name, "labels": dict(answer.labels)}

        yield _change(manifest, {"name": before.name, "labels": dict(before.labels)}, label)
    wished = {each.device_id: each for each in after.devices}
    there = {each.device_id: each for each in before.devices}
    places: list[tuple[str, v1.Node | v1.Device, v1.Node | v1.Device]] = [(before.name, before, after)]
    places += [(each.name, each, wished.get(each.device_id, v1.Device())) for each in before.devices]
    for name, one, other in places:
        same_reason = one.cordon.reason == other.cordon.reason
        if one.cordoned != other.cordoned or (one.cordoned and not same_reason):
            yield _change(manifest, _cordon(name, one), _cordoning(connected, name, other), name=name)
    notes += [
        f"{before.name} has no device {device_id} now, which is left out; apply again when it has"
        for device_id in sorted(wished.keys() - there.keys())
    ]


def _cordoning(connected: Client, name: str, wished: v1.Node | v1.Device) -> Callable[[bool], Wish]:
    def send(validate_only: bool) -> Wish:
        if wished.cordoned:
            cordon = v1.CordonNodeRequest(name=name, reason=wished.cordon.reason, validate_only=validate_only)
            connected.nodes.CordonNode(cordon, timeout=TIMEOUT_SECONDS)
        else:
            uncordon = v1.UncordonNodeRequest(name=name, validate_only=validate_only)
            connected.nodes.UncordonNode(uncordon, timeout=TIMEOUT_SECONDS)
        return _cordon(name, wished)

    return send


def _cordon(name: str, of: v1.Node | v1.Device) -> Wish:
    return {"name": name, "cordoned": of.cordoned, "cordon.reason": of.cordon.reason}


def _pruned(
    connected: Client, manifests: Sequence[Manifest], present: Mapping[str, Mapping[str, Any]]
) -> Iterator[Change]:
    """Yield what deletes deployments and declared backends that no document names."""
    named = {each.name for each in manifests}
    for name, deployment in sorted(present["Deployment"].items()):
        if name not in named and not deployment.HasField("delete_time"):

            def delete(validate_only: bool, name: str = name) -> None:
                request = v1.DeleteDeploymentRequest(name=name, validate_only=validate_only)
                connected.deployments.DeleteDeployment(request, timeout=TIMEOUT_SECONDS)

            yield Change(name, deployment_wish(deployment), None, delete)
    for name, backend in sorted(present["Backend"].items()):
        if name not in named:

            def forget(validate_only: bool, name: str = name) -> None:
                request = v1.DeleteBackendRequest(name=name, validate_only=validate_only)
                connected.backends.DeleteBackend(request, timeout=TIMEOUT_SECONDS)

            yield Change(name, backend_wish(backend), None, forget)


def _change(manifest: Manifest, before: Wish | None, send: Callable[[bool], Wish], name: str = "") -> Change:
    # Until the controller says what it makes of it, what the file says.
    said = KINDS[manifest.kind].wished(manifest.message)
    return Change(name or manifest.name, before, said, send, manifest)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _flat(each, f"{path}.{name}" if path else str(name))
    elif path != "name":
        yield path, value


def _said(name: str, value: object) -> str:
    if value is None:
        return ""
    return MASKED if ".env." in name else str(masked(value))
