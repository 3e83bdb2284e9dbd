"""events: what happened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.context import Output, client
from motorpool_cli.lists import list_events
from motorpool_cli.output import Format, plain, print_document, print_table


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("events")(events)


def events(
    subject: Annotated[
        str, typer.Argument(help="Only about this, e.g. deployments/NAME (with its instances) or nodes/NAME.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    output: Output = Format.TABLE,
) -> None:
    """List what happened, the latest last."""
    if subject and "/" not in subject:
        subject = f"deployments/{subject}"
    with client(output) as connected:
        found = list_events(connected, subject, limit)
    if output is not Format.TABLE:
        print_document({"events": [plain(event) for event in found]}, output)
    else:
        print_events(found)


def print_events(found: Iterable[v1.Event]) -> None:
    """Print events as a table."""
    print_table(
        ("TIME", "SEVERITY", "SUBJECT", "REASON", "COUNT", "MESSAGE"),
        (
            (
                text.clock(event.time),
                text.word(v1.Severity, event.severity),
                event.subject,
                event.reason,
                str(event.count),
                event.message,
            )
            for event in found
        ),
        empty="Nothing has happened yet.",
    )
