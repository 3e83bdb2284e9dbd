"""cluster: which controller answers, and what the caller may do."""

from __future__ import annotations

import typer

from motorpool import v1
from motorpool_cli import logins, text
from motorpool_cli.client import TIMEOUT_SECONDS, connect
from motorpool_cli.context import Output, given, reporting
from motorpool_cli.output import Format, note, plain, print_document, print_facts, print_table, say
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
        if _keep_servers(settings, found):
            note("The cluster's controllers are others than before, and the context names those from now on.")
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
    if len(found.controllers) > 1:
        say()
        print_table(("CONTROLLER", "STATE", "SINCE", "VERSION"), map(_row, found.controllers), empty="")


def _row(one: v1.Controller) -> tuple[str, ...]:
    state = "leads" if one.leads else "stands by" if one.present else "away"
    # Of one that is away nobody knows since when.
    since = one.lead_time if one.leads else one.start_time
    return (
        one.public_endpoints[0],
        state,
        text.clock(since) if one.leads or one.present else text.UNKNOWN,
        one.version,
    )


def _keep_servers(settings: Settings, found: v1.Cluster) -> bool:
    """Put the controllers that the cluster told into its contexts; return whether they are others than before."""
    known = logins.read()
    changed = known.reaching(settings.server, settings.token, servers_of(settings, found))
    if changed == known:
        return False
    logins.write(changed)
    return True


def servers_of(settings: Settings, found: v1.Cluster) -> str:
    """Return where a cluster's controllers are: as its caller names them, then the others as they name themselves."""
    if len(found.controllers) < 2:  # one: it is where it was found
        return settings.server
    told = [endpoint for each in found.controllers for endpoint in each.public_endpoints]
    return ",".join(dict.fromkeys([*settings.servers, *told]))


def _keep_trust(settings: Settings, told: str) -> bool:
    """Put the authorities that the cluster told into its contexts; return whether they are others than before."""
    ca_pem = logins.certificates(told.encode())
    known = logins.read()
    changed = known.trusting(settings.server, settings.token, ca_pem) if ca_pem else known
    if changed == known:
        return False
    logins.write(changed)
    return True
