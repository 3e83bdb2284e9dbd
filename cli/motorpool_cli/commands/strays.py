"""release, and the list of what nodes have and no record places there."""

from __future__ import annotations

from typing import Annotated

import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.context import Output, client, complete_node
from motorpool_cli.lists import pages
from motorpool_cli.output import Format, plain, print_document, print_table, say

PAGE_SIZE = 1000


def add_to(app: typer.Typer) -> None:
    """Put this file's command on the application."""
    app.command("release")(release)


def release(
    node: Annotated[str, typer.Argument(help="The node that has it.", autocompletion=complete_node)],
    assignment: Annotated[str, typer.Argument(help="The assignment, as `instances --strays` lists it.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever looks.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only, change nothing.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Have a node end something of an instance that is placed nowhere, as far as it is the node's own for certain."""
    asked = v1.ReleaseStrayInstanceRequest(
        node=text.full("nodes", node), assignment_id=assignment, reason=reason, validate_only=dry_run
    )
    with client(output) as connected:
        stray = connected.instances.ReleaseStrayInstance(asked, timeout=TIMEOUT_SECONDS)
    if output is not Format.TABLE:
        print_document(plain(stray), output)
    elif dry_run:
        say(f"{stray.node} would end {assignment}; nothing was changed")
    else:
        say(f"{stray.node} is to end {assignment}; `motorpool instances --strays` shows it until nothing is left")


def show(node: str, output: Format) -> None:
    """Print what nodes have and no record places there."""
    with client(output) as connected:
        found = _list(connected, text.full("nodes", node) if node else "")
    if output is not Format.TABLE:
        print_document({"strays": [plain(stray) for stray in found]}, output)
        return
    print_table(
        ("NODE", "ASSIGNMENT", "INSTANCE", "STATE", "PID", "STARTED", "RELEASED", "MESSAGE"),
        (_row(stray) for stray in found),
        empty="No strays: nodes in session have nothing that is not placed there.",
    )


def _row(stray: v1.StrayInstance) -> tuple[str, ...]:
    return (
        text.bare(stray.node),
        stray.assignment_id,
        text.bare(stray.instance) or text.UNKNOWN,
        text.word(v1.InstanceState, stray.state),
        str(stray.pid) if stray.pid else text.UNKNOWN,
        f"{text.age(stray.start_time)} ago" if stray.start_time.seconds else text.UNKNOWN,
        f"{text.age(stray.release.create_time)} ago, {stray.release.reason}".rstrip(", ")
        if stray.HasField("release")
        else "",
        stray.state_message,
    )


def _list(connected: Client, node: str) -> list[v1.StrayInstance]:
    def fetch(token: str) -> tuple[list[v1.StrayInstance], str]:
        request = v1.ListStrayInstancesRequest(node=node, page_size=PAGE_SIZE, page_token=token)
        answer = connected.instances.ListStrayInstances(request, timeout=TIMEOUT_SECONDS)
        return list(answer.strays), answer.next_page_token

    return pages(fetch)
