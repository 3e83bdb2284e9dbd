"""adopt, release, and the list of what nodes have and no record places there."""

from __future__ import annotations

from typing import Annotated

import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.context import Output, client, complete, complete_deployment, complete_node
from motorpool_cli.lists import pages
from motorpool_cli.output import Format, plain, print_document, print_table, say

PAGE_SIZE = 1000


def complete_stray(context: typer.Context, incomplete: str) -> list[str]:
    """Return assignments that nodes tell of for the shell's completion."""
    return complete(context, incomplete, lambda connected: [each.assignment_id for each in _list(connected, "")])


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("adopt")(adopt)
    app.command("release")(release)


Node = Annotated[str, typer.Argument(help="The node that has it.", autocompletion=complete_node)]
Stray = Annotated[
    str,
    typer.Argument(
        help="The assignment, or the instance, as `instances --strays` lists it.", autocompletion=complete_stray
    ),
]
Reason = Annotated[str, typer.Option(help="Why, for whoever looks.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check only, change nothing.")]


def adopt(
    node: Node,
    assignment: Stray,
    deployment: Annotated[
        str,
        typer.Option(
            help="The deployment that it is to belong to, instead of the one that it was made for.",
            autocompletion=complete_deployment,
        ),
    ] = "",
    add_replica: Annotated[
        bool, typer.Option("--add-replica", help="Have the deployment wish for one more, where it has all.")
    ] = False,
    reason: Reason = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Take what a node runs and no record places there as an instance of its deployment; it runs on as it is."""
    with client(output) as connected:
        asked = v1.AdoptStrayInstanceRequest(
            node=text.full("nodes", node),
            assignment_id=_assignment(connected, node, assignment),
            deployment=text.full("deployments", deployment) if deployment else "",
            add_replica=add_replica,
            reason=reason,
            validate_only=dry_run,
        )
        instance = connected.instances.AdoptStrayInstance(asked, timeout=TIMEOUT_SECONDS)
    if output is not Format.TABLE:
        print_document(plain(instance), output)
    elif dry_run:
        say(f"{instance.name} would be {instance.deployment}'s; nothing was changed")
    else:
        say(
            f"{instance.name} is {instance.deployment}'s now, as it runs; `motorpool describe {instance.name}` shows it"
        )


def release(
    node: Node,
    assignment: Stray,
    reason: Reason = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Have a node end something of an instance that is placed nowhere, as far as it is the node's own for certain."""
    with client(output) as connected:
        asked = v1.ReleaseStrayInstanceRequest(
            node=text.full("nodes", node),
            assignment_id=_assignment(connected, node, assignment),
            reason=reason,
            validate_only=dry_run,
        )
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
        ("NODE", "ASSIGNMENT", "INSTANCE", "STATE", "PID", "STARTED", "ADOPTABLE", "RELEASED", "MESSAGE"),
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
        f"for {text.bare(stray.deployment)}" if stray.adoptable else "no",
        f"{text.age(stray.release.create_time)} ago, {stray.release.reason}".rstrip(", ")
        if stray.HasField("release")
        else "",
        stray.state_message,
    )


def _assignment(connected: Client, node: str, given: str) -> str:
    """Return the id of an assignment that was named by its instance, as the node tells of it; else what was given."""
    name = text.full("instances", given)
    found = [each for each in _list(connected, text.full("nodes", node)) if name == each.instance]
    return found[0].assignment_id if len(found) == 1 else given


def _list(connected: Client, node: str) -> list[v1.StrayInstance]:
    def fetch(token: str) -> tuple[list[v1.StrayInstance], str]:
        request = v1.ListStrayInstancesRequest(node=node, page_size=PAGE_SIZE, page_token=token)
        answer = connected.instances.ListStrayInstances(request, timeout=TIMEOUT_SECONDS)
        return list(answer.strays), answer.next_page_token

    return pages(fetch)
