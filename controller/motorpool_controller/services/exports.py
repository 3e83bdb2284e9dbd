"""What a cluster is asked to be, out of its database: what `motorpool export` prints, without a controller."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from motorpool_controller.config import Settings
from motorpool_controller.domain.fleet import Node
from motorpool_controller.domain.maintenance import WHOLE
from motorpool_controller.services.convert.declaration import MASKED, declaration_message
from motorpool_controller.services.convert.spec import spec_message
from motorpool_controller.store.database import open_database
from motorpool_controller.store.loading import wishes

Document = dict[str, Any]


def export(settings: Settings, *, secrets: bool) -> str:
    """Return YAML documents, written as JSON, which is YAML too; values of environments only with ``secrets``."""
    engine = open_database(settings.database, migrate=False)
    try:
        backends, nodes, deployments = wishes(engine)
    finally:
        engine.dispose()
    documents: list[Document] = [
        *(
            {
                "kind": "Backend",
                "name": each.name,
                "declaration": _plain(declaration_message(each.declaration, masked=False)),
            }
            for each in backends
        ),
        *(document for each in nodes if len(document := _node(each)) > 2),
        *(
            {"kind": "Deployment", "name": each.name, "spec": _plain(spec_message(each.spec))}
            for each in deployments
            if each.delete_time is None
        ),
    ]
    shown = documents if secrets else [_masked(each) for each in documents]
    return "\n---\n".join(json.dumps(each, indent=2, ensure_ascii=False) for each in shown)


def _node(node: Node) -> Document:
    document: Document = {"kind": "Node", "name": node.name}
    if node.labels:
        document["labels"] = dict(sorted(node.labels.items()))
    if node.cordoned:
        document |= _cordon(node, WHOLE)
    if node.cordoned_devices:
        document["devices"] = [{"device_id": each, **_cordon(node, each)} for each in sorted(node.cordoned_devices)]
    return document


def _cordon(node: Node, place: str) -> Document:
    cordon = node.cordons.get(place)
    reason = {"cordon": {"reason": cordon.reason}} if cordon is not None and cordon.reason else {}
    return {"cordoned": True, **reason}


def _plain(message: Message) -> Document:
    found: Document = MessageToDict(message, preserving_proto_field_name=True)
    return found


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked(each) for each in value]
    if not isinstance(value, dict):
        return value
    return dict(_hidden(value))


def _hidden(value: Document) -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        yield name, dict.fromkeys(each, MASKED) if name == "env" and isinstance(each, dict) else _masked(each)
