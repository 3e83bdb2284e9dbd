"""logs: what an instance's engine writes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import grpc
import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.context import client, complete_instance
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.lists import list_instances
from motorpool_cli.output import Format

READ_TIMEOUT_SECONDS = 300.0
AGAIN_SECONDS = 300.0
"""How long who follows a log waits for its node, or the controller, to come back."""
_PAUSE_SECONDS = 0.2, 1.0
"""Before the next try: after the first failure, which another controller may have mended, and after others."""


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("logs")(logs)


def logs(
    name: Annotated[
        str,
        typer.Argument(help="An instance, or a deployment that has only one.", autocompletion=complete_instance),
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until interrupted.")] = False,
    tail: Annotated[
        int | None,
        typer.Option(help="Start with so many of the last lines, 100 without --since; -1 for all that is kept."),
    ] = None,
    attempt: Annotated[
        int | None,
        typer.Option(help="One attempt's, as `describe` numbers them; 0 is the present one, -1 the one before it."),
    ] = None,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="As --attempt -1.")] = False,
    since: Annotated[
        str, typer.Option(metavar="LENGTH|TIME", help="Lines of the last 10m, or since 2026-11-21T20:00:00Z.")
    ] = "",
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Begin each line with its time.")] = False,
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
        if previous and attempt is not None:
            raise CommandError(
                Exit.USAGE, "FIELD_INVALID", "--previous and --attempt both name an attempt: give one of them."
            )
        since_time, since_age = _since(since)
        instance = _instance(connected, name)
        request = v1.StreamInstanceLogsRequest(
            name=instance,
            tail_lines=tail if tail is not None else -1 if since else 100,
            follow=follow,
            previous=previous,
            attempt=attempt,
            rank=_rank(connected, instance, text.full("nodes", node)) if node else rank or 0,
            since_time=since_time,
            since_age=since_age,
            timestamps=timestamps,
        )
        _print(connected, request)


def _print(
    connected: Client, request: v1.StreamInstanceLogsRequest, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Print what comes. Who follows goes on where a stream broke, with nothing lost and nothing twice."""
    seen = time.monotonic()
    failures = 0
    while True:
        # Following has no end of its own; a log that is read once has, and may be long.
        timeout = None if request.follow else READ_TIMEOUT_SECONDS
        try:
            for chunk in connected.instances.StreamInstanceLogs(request, timeout=timeout):
                sys.stdout.write("".join(f"{line}\n" for line in chunk.lines))
                if request.follow:
                    sys.stdout.flush()
                request.position = chunk.position or request.position
                seen, failures = time.monotonic(), 0
        except grpc.RpcError as error:
            lost = isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNAVAILABLE
            if not (lost and request.follow and request.position) or time.monotonic() - seen > AGAIN_SECONDS:
                raise
            failures += 1
            if failures == 2:  # once is nothing to tell
                print("motorpool: the stream broke; it goes on when the node is back", file=sys.stderr)
            sleep(_PAUSE_SECONDS[min(failures, 2) - 1])
        else:
            return


def _since(value: str) -> tuple[Timestamp | None, Duration | None]:
    """Return what --since says: a time, or a length of it."""
    if not value:
        return None, None
    since = text.parse_since(value)
    if isinstance(since, datetime):
        moment = Timestamp()
        moment.FromDatetime(since)
        return moment, None
    length = Duration()
    length.FromNanoseconds(round(since * 1e9))
    return None, length


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
