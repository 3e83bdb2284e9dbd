"""logs: what an instance's engine writes."""

from __future__ import annotations

from typing import Annotated

import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.context import client, complete_instance
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.lists import list_instances
from motorpool_cli.output import Format

READ_TIMEOUT_SECONDS = 300.0


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("logs")(logs)


def logs(
    name: Annotated[
        str,
        typer.Argument(help="An instance, or a deployment that has only one.", autocompletion=complete_instance),
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until interrupted.")] = False,
    tail: Annotated[int, typer.Option(help="Start with so many of the last lines; -1 for all that is kept.")] = 100,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="The run before the last restart.")] = False,
    rank: Annotated[
        int | None, typer.Option(min=0, help="Of an instance over several nodes, the member of this rank; 0 leads.")
    ] = None,
    node: Annotated[
        str, typer.Option("--node", help="Of an instance over several nodes, the member on this node.")
    ] = "",
) -> None:
    """Print an instance's log."""
    with client(Format.TABLE) as connected:
        if node and rank is not None:
            raise CommandError(Exit.USAGE, "FIELD_INVALID", "--node and --rank both name a member: give one of them.")
        instance = _instance(connected, name)
        request = v1.StreamInstanceLogsRequest(
            name=instance,
            tail_lines=tail,
            follow=follow,
            previous=previous,
            rank=_rank(connected, instance, text.full("nodes", node)) if node else rank or 0,
        )
        # Following has no end of its own; a log that is read once has, and may be long.
        for chunk in connected.instances.StreamInstanceLogs(request, timeout=None if follow else READ_TIMEOUT_SECONDS):
            for line in chunk.lines:
                print(line, flush=follow)


def _rank(connected: Client, name: str, node: str) -> int:
    found = connected.instances.GetInstance(v1.GetInstanceRequest(name=name), timeout=TIMEOUT_SECONDS)
    for member in found.placement.members:
        if member.node == node:
            return member.rank
    there = ", ".join(text.bare(member.node) for member in found.placement.members) or "no node"
    raise CommandError(Exit.NOT_FOUND, "NOT_FOUND", f"{name} is on {there}, and has no part on {text.bare(node)}.")


def _instance(connected: Client, name: str) -> str:
    if name.startswith("instances/"):
        return name
    found = list_instances(connected)
    if any(instance.name == f"instances/{name}" for instance in found):
        return f"instances/{name}"
    theirs = [instance.name for instance in found if instance.deployment == text.full("deployments", name)]
    if len(theirs) == 1:
        return theirs[0]
    if theirs:
        listed = ", ".join(text.bare(instance) for instance in theirs)
        raise CommandError(Exit.USAGE, "INSTANCE_AMBIGUOUS", f"{name} has several instances: name one of {listed}.")
    raise CommandError(
        Exit.NOT_FOUND,
        "NOT_FOUND",
        f"No instance and no deployment is called {name}; `motorpool ps` lists them.",
    )
