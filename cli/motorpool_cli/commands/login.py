"""login, logout, contexts, use: the clusters that commands can be sent to."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from motorpool import v1
from motorpool_cli import logins, text
from motorpool_cli.authority import checked_fingerprint, fetch_authority
from motorpool_cli.client import TIMEOUT_SECONDS, connect
from motorpool_cli.commands.cluster import servers_of
from motorpool_cli.context import Output, complete_context, given, reporting
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.output import Format, note, print_document, print_table, say
from motorpool_cli.settings import Settings, checked_server, checked_token, read_ca

Name = Annotated[str, typer.Argument(help="Name of the context.", autocompletion=complete_context)]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("login")(login)
    app.command("logout")(logout)
    app.command("contexts")(contexts)
    app.command("use")(use)


def login(
    server: Annotated[
        str, typer.Argument(help="host:port of the controller's public listener; of several, with commas.")
    ],
    name: Annotated[str, typer.Option(help="Name of the context; the host's when left out.")] = "",
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="The cluster's ca.pem, carried here.", show_default=False)
    ] = None,
    ca_fingerprint: Annotated[
        str, typer.Option(help="Or its SHA-256: the certificate is then fetched and held against it.")
    ] = "",
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from standard input instead of asking for it.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Keep a cluster's address, authority and token as a context, and send commands there from now on."""
    with reporting(output):
        server = checked_server(server)
        first = server.split(",")[0]
        name = logins.checked_name(name or first.rpartition(":")[0].strip("[]").replace(":", "-"))
        known = logins.read()  # a broken file is told before a token is asked for
        ca_pem = _authority(first, ca_file or _path(given().ca_file, "MOTORPOOL_CA_FILE"), ca_fingerprint)
        settings = Settings(server=server, ca_pem=ca_pem, token=checked_token(_token(from_stdin=token_stdin)))
        with connect(settings) as connected:
            cluster = connected.cluster.GetCluster(v1.GetClusterRequest(), timeout=TIMEOUT_SECONDS)
        made = logins.Login(
            server=servers_of(settings, cluster),
            cluster_id=cluster.cluster_id,
            token=settings.token,
            # Told over a connection that the given one vouched for; it is two while the authority is rotated.
            ca_pem=logins.certificates(cluster.ca_pem.encode() or ca_pem),
        )
        path = logins.write(known.with_login(name, made))
    role = text.word(v1.Role, cluster.caller_role).lower()
    if output is not Format.TABLE:
        print_document({"context": _plain(name, made, current=True), "role": role}, output)
        return
    say(f"Logged in to {server} (cluster {cluster.cluster_id}) as {role}; commands go to context {name} from now on.")
    note(f"It is kept in {path}; `motorpool contexts` lists what is there.")


def logout(name: Name, output: Output = Format.TABLE) -> None:
    """Forget a context with its token. The token holds on: `motorpool tokens revoke` ends it for everybody."""
    with reporting(output):
        known = logins.read()
        known.chosen(name)
        logins.write(known.without(name))
    if output is not Format.TABLE:
        print_document({"deleted": name}, output)
    else:
        say(f"Context {name} is forgotten{'; none is current now' if known.current == name else ''}.")


def contexts(output: Output = Format.TABLE) -> None:
    """List the contexts, the current one marked."""
    with reporting(output):
        known = logins.read()
    if output is not Format.TABLE:
        listed = [_plain(name, one, current=name == known.current) for name, one in sorted(known.by_name.items())]
        print_document({"contexts": listed}, output)
        return
    print_table(
        ("CURRENT", "NAME", "SERVER", "CLUSTER"),
        (
            ("*" if name == known.current else "", name, one.server, one.cluster_id)
            for name, one in sorted(known.by_name.items())
        ),
        empty="No contexts. `motorpool login HOST:PORT --ca-file ca.pem` makes one.",
    )


def use(name: Name, output: Output = Format.TABLE) -> None:
    """Send commands to another context from now on."""
    with reporting(output):
        known = logins.read()
        logins.write(known.with_login(name, known.chosen(name)))
    if output is not Format.TABLE:
        print_document({"current": name}, output)
    else:
        say(f"Commands go to context {name} from now on.")


def _plain(name: str, one: logins.Login, *, current: bool) -> dict[str, object]:
    return {"name": name, "server": one.server, "cluster_id": one.cluster_id, "current": current}


def _authority(server: str, ca_file: Path | None, fingerprint: str) -> bytes:
    if fingerprint:
        return fetch_authority(server, checked_fingerprint(fingerprint))
    if ca_file is None:
        raise CommandError(
            Exit.USAGE,
            "OPTION_MISSING",
            f"It is not known whom to trust at {server}. Say --ca-file with the ca.pem of the controller's data "
            "directory, or --ca-fingerprint with its SHA-256.",
        )
    return read_ca(ca_file)


def _path(option: Path | None, variable: str) -> Path | None:
    return option or (Path(os.environ[variable]) if os.environ.get(variable) else None)


def _token(*, from_stdin: bool) -> str:
    if from_stdin:
        token = sys.stdin.readline().strip()
    elif known := given().token or os.environ.get("MOTORPOOL_TOKEN"):
        token = known
    elif sys.stdin.isatty():
        token = typer.prompt("Token", hide_input=True, err=True)
    else:
        token = ""
    if not token:
        raise CommandError(
            Exit.USAGE,
            "OPTION_MISSING",
            "No token was given. Pipe it in with --token-stdin, set MOTORPOOL_TOKEN, or run this on a terminal; "
            "`motorpool tokens create --role operator` makes one.",
        )
    return str(token)
