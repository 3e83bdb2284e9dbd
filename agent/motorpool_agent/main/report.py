"""``motorpool-agent status``: the data directory, read and left as it is."""

from __future__ import annotations

from pathlib import Path

from motorpool_agent.identity.store import IdentityStore
from motorpool_agent.state.desired import DesiredRecord
from motorpool_agent.state.errors import HandleError
from motorpool_agent.state.handles import Handles

Status = dict[str, str | list[dict[str, str]] | None]


def status_of(data_dir: Path) -> Status:
    """Return what the directory says. No secret is among it."""
    identity = IdentityStore(data_dir).peek()
    last = DesiredRecord(data_dir).last
    document = None if identity is None else identity.document
    return {
        "data_dir": str(data_dir),
        "node": None if document is None else document.node,
        "node_uid": None if document is None else document.node_uid,
        "cluster": None if document is None else document.cluster_id,
        "endpoints": None if document is None else ", ".join(document.agent_endpoints),
        "renew_time": None if document is None else document.renew_time.isoformat(),
        "expire_time": None if document is None else document.expire_time.isoformat(),
        "desired_version": None if last is None else f"{last.version.controller_epoch}.{last.version.version}",
        "instances": _instances(data_dir),
    }


def as_text(status: Status) -> str:
    """Return a status for people."""
    lines = [
        f"{name + ':':<17} {value if value is not None else '-'}"
        for name, value in status.items()
        if not isinstance(value, list)
    ]
    instances = status["instances"]
    if not isinstance(instances, list) or not instances:
        return "\n".join([*lines, f"{'instances:':<17} none"])
    return "\n".join([*lines, "instances:", *("  " + "  ".join(each.values()) for each in instances)])


def _instances(data_dir: Path) -> list[dict[str, str]]:
    # Not read_all: that one sweeps, and an agent may be at work here.
    handles = Handles(data_dir)
    rows = []
    for path in sorted(handles.root.iterdir()) if handles.root.is_dir() else ():
        if path.name.startswith("."):
            continue
        try:
            handle = handles.read(path.name)
        except HandleError as error:
            rows.append({"assignment": path.name, "problem": str(error)})
            continue
        rows.append(
            {
                "assignment": path.name,
                "instance": handle.assignment.instance,
                "backend": handle.assignment.backend,
                "phase": str(handle.phase),
                "pid": "-" if handle.engine is None else str(handle.engine.pid),
            }
        )
    return rows
