"""events: what happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.context import Output, client
from motorpool_cli.lists import list_events
from motorpool_cli.output import Format
from motorpool_cli.watching import Listing, Watch


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("events")(events)


def events(
    subject: Annotated[
        str, typer.Argument(help="Only about this, e.g. deployments/NAME (with its instances) or nodes/NAME.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """List what happened, the latest last."""
    if subject and "/" not in subject:
        subject = f"deployments/{subject}"
    listing = _listing()
    with client(output) as connected:
        if watch:
            listing.follow(
                connected,
                _asked(subject),
                lambda: list_events(connected, subject, limit),
                output,
                wanted=lambda event: subject.startswith("deployments/") or subject in {"", event.subject},
            )
        found = list_events(connected, subject, limit)
    listing.show(found, output)


def print_events(found: Sequence[v1.Event]) -> None:
    """Print events as a table."""
    _listing().show(found, Format.TABLE)


def _listing() -> Listing[v1.Event]:
    columns = ("TIME", "SEVERITY", "SUBJECT", "REASON", "COUNT", "MESSAGE")
    return Listing("events", columns, _row, "Nothing has happened yet.")


def _row(event: v1.Event) -> tuple[str, ...]:
    return (
        text.clock(event.time),
        text.word(v1.Severity, event.severity),
        event.subject,
        event.reason,
        str(event.count),
        event.message,
    )


def _asked(subject: str) -> v1.WatchRequest:
    """Return what to follow for events of a subject: of a node, what is placed there counts too."""
    kind = subject.partition("/")[0]
    if kind == "instances":  # its deployment's watch; others of that deployment come along
        return v1.WatchRequest(kinds=["events"], deployment=f"deployments/{text.bare(subject).rpartition('-')[0]}")
    return v1.WatchRequest(
        kinds=["events"],
        deployment=subject if kind == "deployments" else "",
        node=subject if kind == "nodes" else "",
    )
