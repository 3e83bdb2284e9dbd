"""cluster: which controller answers, and what the caller may do."""

from __future__ import annotations

import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.client import TIMEOUT_SECONDS
from motorpool_cli.context import Output, client
from motorpool_cli.output import Format, plain, print_document, print_facts


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("cluster")(cluster)


def cluster(output: Output = Format.TABLE) -> None:
    """Show which cluster answers, its controller's version, and your role."""
    with client(output) as connected:
        found = connected.cluster.GetCluster(v1.GetClusterRequest(), timeout=TIMEOUT_SECONDS)
    if output is not Format.TABLE:
        print_document(plain(found), output)
        return
    print_facts(
        (
            ("Cluster", found.cluster_id),
            ("Controller", f"{found.version}, epoch {found.controller_epoch}"),
            ("Agents connect to", ", ".join(found.agent_endpoints)),
            ("Your role", text.word(v1.Role, found.caller_role).lower()),
        )
    )
