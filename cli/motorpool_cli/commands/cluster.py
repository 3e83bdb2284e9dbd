"""cluster: which controller answers, and what the caller may do."""

from __future__ import annotations

import typer

from motorpool import v1
from motorpool_cli import logins, text
from motorpool_cli.client import TIMEOUT_SECONDS, connect
from motorpool_cli.context import Output, given, reporting
from motorpool_cli.output import Format, note, plain, print_document, print_facts
from motorpool_cli.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("cluster")(cluster)


def cluster(output: Output = Format.TABLE) -> None:
    """Show which cluster answers, its version, and your role; learn which authorities to trust, of a context."""
    with reporting(output):
        settings = given().load()
        with connect(settings) as connected:
            found = connected.cluster.GetCluster(v1.GetClusterRequest(), timeout=TIMEOUT_SECONDS)
        if _keep_trust(settings, found.ca_pem):
            note("The cluster's authorities are others than before, and the context trusts those from now on.")
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


def _keep_trust(settings: Settings, told: str) -> bool:
    """Put the authorities that the cluster told into its contexts; return whether they are others than before."""
    ca_pem = logins.certificates(told.encode())
    known = logins.read()
    changed = known.trusting(settings.server, settings.token, ca_pem) if ca_pem else known
    if changed == known:
        return False
    logins.write(changed)
    return True
