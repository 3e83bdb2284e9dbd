"""``motorpool-controller audit``: who changed what, and who was turned away; beside a running controller."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from motorpool_controller.options import ConfigFile, DataDir, faults, settings_of

if TYPE_CHECKING:
    from motorpool_controller.services.audit import Record


def add_to(app: typer.Typer) -> None:
    """Put this file's command on the application."""
    app.command("audit")(audit)


def audit(
    last: Annotated[int, typer.Option(min=1, help="At most so many, the latest.")] = 100,
    hours: Annotated[float | None, typer.Option(min=0, help="Only those of the last so many hours.")] = None,
    actor: Annotated[str, typer.Option(help="Only of callers whose name or description has this.")] = "",
    target: Annotated[str, typer.Option(help="Only about what has this in its name, e.g. nodes/a.")] = "",
    denied: Annotated[bool, typer.Option("--denied", help="Only those that were turned away.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON each.")] = False,
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> None:
    """Print who called what that changes something, from where, and how it ended; the latest last."""
    from motorpool_controller.services import audit as audit_log  # noqa: PLC0415  # loaded when it is called
    from motorpool_controller.store.store import utc_now  # noqa: PLC0415

    with faults():
        settings = settings_of(data_dir, config_file)
    since = None if hours is None else utc_now() - timedelta(hours=hours)
    found = deque(
        (
            record
            for record in audit_log.read(settings.data_dir)
            if actor in record.actor
            and target in record.target
            and (record.denied or not denied)
            and (since is None or record.time >= since)
        ),
        maxlen=last,
    )
    for record in found:
        typer.echo(_document(record) if as_json else _line(record))
    if not found:
        typer.echo("Nothing of the kind was written down.", err=True)


def _document(record: Record) -> str:
    return json.dumps({**asdict(record), "time": record.time.isoformat(), "denied": record.denied})


def _line(record: Record) -> str:
    who = record.actor or "somebody unknown"
    words = (
        f"{record.time:%Y-%m-%dT%H:%M:%SZ}",
        record.result,
        record.method,
        record.target,
        "(dry run)" if record.dry_run else "",
        f"by {who}",
        f"from {record.address}" if record.address else "",
        f"{record.count} times" if record.count > 1 else "",
    )
    line = " ".join(word for word in words if word)
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
