"""What a cluster is asked to be, as YAML documents: out of the API, and out of files.

A document is a message of the API with what was wished in it, and its ``kind``: a Deployment's ``spec``, a declared
Backend's ``declaration``, a Node's ``labels`` and cordons. What was observed or made by the controller is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from motorpool import v1
from motorpool_cli import declarations, documents, text
from motorpool_cli.client import Client
from motorpool_cli.documents import Document, Problem
from motorpool_cli.failures import Exit
from motorpool_cli.lists import list_backends, list_deployments, list_nodes
from motorpool_cli.output import plain

MASKED = "***"
"""Stands for a value that is kept where it is, and said nowhere."""
_KIND, _MOST_BYTES, _MOST_DOCUMENTS = "kind", 64 * 1024 * 1024, 20_000


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of documents. ``shown`` are the fields that the API shows beside what is wished."""

    collection: str
    message: Callable[[], Any]
    wished: Callable[[Any], dict[str, Any]]
    shown: tuple[str, ...] = ()


@dataclass(slots=True)
class Manifest:
    """One document of a file, read."""

    kind: str
    message: Any
    document: Document

    @property
    def name(self) -> str:
        """The full name of what it is about."""
        return str(self.message.name)

    def problem(self, field: str, message: str) -> Problem:
        """Return a fault at a field's place in the file; fields that were left out are told by their place."""
        own = field.removeprefix("deployment.").removeprefix("backend.").removeprefix("node.")
        return Problem(self.document.file, self.document.line(own), own or self.name, message)


def deployment_wish(deployment: v1.Deployment) -> dict[str, Any]:
    """Return what is wished of a deployment."""
    return {"name": deployment.name, "spec": plain(deployment.spec)}


def backend_wish(backend: v1.Backend) -> dict[str, Any]:
    """Return what was declared of a backend."""
    return {"name": backend.name, "declaration": plain(backend.declaration)}


def node_wish(node: v1.Node) -> dict[str, Any]:
    """Return an operator's words about a node: labels, and what is cordoned of it, and why."""
    wish: dict[str, Any] = {"name": node.name}
    if node.labels:
        wish["labels"] = {key: node.labels[key] for key in sorted(node.labels)}
    wish |= _cordon(node)
    devices = [{"device_id": each.device_id, **_cordon(each)} for each in node.devices if each.cordoned]
    if devices:
        wish["devices"] = sorted(devices, key=lambda each: each["device_id"])
    return wish


def _cordon(of: v1.Node | v1.Device) -> dict[str, Any]:
    reason = {"cordon": {"reason": of.cordon.reason}} if of.cordon.reason else {}
    return {"cordoned": True, **reason} if of.cordoned else {}


KINDS: Mapping[str, Kind] = {
    "Backend": Kind(
        "backends",
        v1.Backend,
        backend_wish,
        ("profile", "nodes", "etag", "create_time", "update_time"),
    ),
    "Node": Kind(
        "nodes",
        v1.Node,
        node_wish,
        tuple(
            field.name
            for field in v1.Node.DESCRIPTOR.fields
            if field.name not in {"name", "labels", "cordoned", "cordon", "devices"}
        ),
    ),
    "Deployment": Kind(
        "deployments",
        v1.Deployment,
        deployment_wish,
        tuple(field.name for field in v1.Deployment.DESCRIPTOR.fields if field.name not in {"name", "spec"}),
    ),
}
"""By their names, in the order in which they are applied: a deployment may need a backend, and the nodes' labels."""


def exported(connected: Client, *, secrets: bool) -> list[dict[str, Any]]:
    """Return a cluster's documents; values of environments only with ``secrets``."""
    present: Sequence[tuple[str, Sequence[Any]]] = (
        ("Backend", [each for each in list_backends(connected) if each.HasField("declaration")]),
        ("Node", list_nodes(connected)),
        ("Deployment", [each for each in list_deployments(connected) if not each.HasField("delete_time")]),
    )
    found = [
        {_KIND: kind, **KINDS[kind].wished(message)}
        for kind, messages in present
        for message in sorted(messages, key=lambda each: str(each.name))
    ]
    # A node of which nothing was said is no wish.
    wishes = [wish for wish in found if len(wish) > 2]
    return wishes if secrets else [masked(wish) for wish in wishes]


def masked(value: Any) -> Any:
    """Return a document without the values of its environments."""
    if isinstance(value, list):
        return [masked(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: dict.fromkeys(each, MASKED) if name == "env" and isinstance(each, dict) else masked(each)
        for name, each in value.items()
    }


def read(files: Sequence[Path]) -> list[Manifest]:
    """Return the documents of files, in the order in which they are applied; raise with every fault of all of them."""
    problems: list[Problem] = []
    found: list[Manifest] = []
    for file in files:
        content = declarations.content(file, _MOST_BYTES)
        parts, wrong = documents.read(str(file), content, _MOST_BYTES, _MOST_DOCUMENTS)
        problems += wrong
        for document in parts:
            manifest = _manifest(document)
            problems += document.problems
            if manifest is not None:
                found.append(manifest)
        if not parts and not wrong:
            problems.append(Problem(str(file), 1, "", "there is nothing in it; `motorpool export` writes such a file"))
    problems += _repeated(found)
    if problems:
        raise declarations.invalid(Exit.USAGE, problems, "nothing was sent", "DOCUMENT_INVALID")
    return sorted(found, key=lambda each: list(KINDS).index(each.kind))


def _manifest(document: Document) -> Manifest | None:
    fields = document.fields()
    name = document.scalar(fields[_KIND], _KIND) if _KIND in fields else ""
    if name not in KINDS:
        said = f"{name!r} is no kind" if name else "it is missing"
        document.fault(_KIND, f"{said}; write one of {', '.join(KINDS)}")
        return None
    kind = KINDS[name]
    message = kind.message()
    document.fill(message, skip=(_KIND, *kind.shown))
    if not message.name:
        document.fault("name", f"it is missing; name it, as in name: {kind.collection}/NAME")
    message.name = text.full(kind.collection, message.name)
    return Manifest(name, message, document)


def _repeated(found: Sequence[Manifest]) -> list[Problem]:
    first: dict[str, Manifest] = {}
    problems = []
    for each in found:
        earlier = first.setdefault(each.name, each)
        if earlier is not each:
            at = f"{earlier.document.file}:{earlier.document.line('name')}"
            problems.append(each.problem("name", f"{each.name} stands at {at} already; keep one of them"))
    return problems


def unmask(manifest: Manifest, before: Message | None) -> list[Problem]:
    """Put the values that stand in the cluster where a file leaves them out; return what stands nowhere."""
    if manifest.kind == "Deployment":
        pairs = [("spec.env", manifest.message.spec.env, before.spec.env if isinstance(before, v1.Deployment) else {})]
    elif manifest.kind == "Backend":
        standing = before.declaration.versions if isinstance(before, v1.Backend) else ()
        known = {version.version: version.env for version in standing}
        pairs = [
            (f"declaration.versions[{index}].env", version.env, known.get(version.version, {}))
            for index, version in enumerate(manifest.message.declaration.versions)
        ]
    else:
        pairs = []
    problems = []
    for path, env, kept in pairs:
        for name in [name for name, value in env.items() if value == MASKED]:
            if name in kept:
                env[name] = kept[name]
            else:
                said = "its value was left out of the export, and the cluster has none; write it, or export --secrets"
                problems.append(manifest.problem(f"{path}.{name}", said))
    return problems
