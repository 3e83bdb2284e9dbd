"""export and apply: what a cluster is asked to be, as a file that one keeps, compares and gives to another cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motorpool_cli import applying, manifests
from motorpool_cli.applying import Changes
from motorpool_cli.context import Output, client
from motorpool_cli.output import Format, note, print_document, say

_SIGNS = {"created": "+", "changed": "~", "deleted": "-"}


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("export")(export)
    app.command("apply")(apply)


def export(
    secrets: Annotated[bool, typer.Option("--secrets", help="With the values of environments, else ***.")] = False,
    output: Output = Format.YAML,
) -> None:
    """Print what the cluster is asked to be: deployments, declared backends, nodes' labels and cordons."""
    with client(output) as connected:
        wishes = manifests.exported(connected, secrets=secrets)
    if output is Format.JSON:
        print_document({"documents": wishes}, output)
        return
    for number, wish in enumerate(wishes):
        if number:
            say("---")
        print_document(wish, Format.YAML)


def apply(
    file: Annotated[list[Path], typer.Option("--file", "-f", help="What `export` wrote; - reads standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; nothing is.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Delete deployments and backends that no file names.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make the cluster as files say: create what is missing, change what differs, leave the rest."""
    with client(output) as connected:
        planned = applying.changes(connected, manifests.read(file), prune=prune)
        todo = [change for change in planned.changes if change.what != "unchanged"]
        if not dry_run:
            applying.carry_out(todo)
    if output is not Format.TABLE:
        print_document(_document(planned, dry_run=dry_run), output)
        return
    for change in todo:
        say(f"{_SIGNS[change.what]} {change.name} {'would be' if dry_run else 'is'} {change.what}")
        if change.what == "changed":
            for name, before, after in change.fields():
                say(f"    {name}: {before or 'nothing'} -> {after or 'nothing'}")
    unchanged = len(planned.changes) - len(todo)
    if unchanged or not todo:
        say(f"{unchanged} as they were" if unchanged else "nothing to change")
    for line in planned.notes:
        note(f"note: {line}")


def _document(planned: Changes, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "changes": [
            {
                "name": change.name,
                "change": change.what,
                "fields": [{"field": name, "before": before, "after": after} for name, before, after in change.fields()]
                if change.what == "changed"
                else [],
            }
            for change in planned.changes
        ],
        "notes": planned.notes,
    }
