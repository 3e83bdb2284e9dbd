"""ban, unban: shut a node out, and let it back in."""

from __future__ import annotations

from typing import Annotated

import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.client import TIMEOUT_SECONDS
from motorpool_cli.context import Output, client, complete_node
from motorpool_cli.output import Format, plain, print_document, say

Name = Annotated[str, typer.Argument(help="Name of the node.", autocompletion=complete_node)]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("ban")(ban)
    app.command("unban")(unban)


def ban(
    node: Name,
    reason: Annotated[str, typer.Option(help="Why, for whoever looks.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Shut a node out: its session ends and its certificates are refused, until it is unbanned (admin)."""
    name = text.full("nodes", node)
    with client(output) as connected:
        banned = connected.nodes.BanNode(v1.BanNodeRequest(name=name, reason=reason), timeout=TIMEOUT_SECONDS)
    if output is not Format.TABLE:
        print_document(plain(banned), output)
    else:
        say(f"{name} is banned: nobody gets in with its certificates; what runs there is not stopped by that")


def unban(node: Name, output: Output = Format.TABLE) -> None:
    """Let a banned node back in, with the certificates that it has (admin)."""
    name = text.full("nodes", node)
    with client(output) as connected:
        freed = connected.nodes.UnbanNode(v1.UnbanNodeRequest(name=name), timeout=TIMEOUT_SECONDS)
    if output is not Format.TABLE:
        print_document(plain(freed), output)
    else:
        say(f"{name} may come back")
