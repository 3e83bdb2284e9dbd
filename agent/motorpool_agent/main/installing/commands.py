"""``motorpool-agent install`` and ``uninstall``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from motorpool_agent.config import values
from motorpool_agent.main.installing.places import USER, Wanted, installed_user
from motorpool_agent.main.installing.work import InstallError, Work

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_EXIT_FAILED, _EXIT_USAGE = 1, 2

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, with the files' contents.")]


def add_to(app: typer.Typer) -> None:
    """Have a command line know these commands."""
    app.command("install")(install)
    app.command("uninstall")(uninstall)


def install(
    server: Annotated[
        str | None, typer.Option("--server", metavar="HOST:PORT", help="The controller's public listener, to enrol.")
    ] = None,
    token_file: Annotated[
        str | None,
        typer.Option("--token-file", metavar="FILE", help="File that holds the join token; - reads standard input."),
    ] = None,
    node_name: Annotated[str | None, typer.Option("--node-name", help="Name of the node; default: the host's.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Label of the node; repeatable.")] = None,
    user: Annotated[
        str | None,
        typer.Option(
            help="Who the agent is, made where missing; all but root get a launcher and a policy.",
            show_default=f"whose it is already, else {USER}",
        ),
    ] = None,
    models: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="A folder of models, for the launch policy, where there is none yet; repeatable."
        ),
    ] = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Enable and start it; else only write.")] = True,
    dry_run: DryRun = False,
) -> None:
    """Make this machine a node under systemd, started at every boot; say it again after an upgrade."""
    try:
        wanted = Wanted(
            user=_user(user or installed_user() or USER),
            server=None if server is None else values.endpoint(server),
            node_name=None if node_name is None else values.dns_label(node_name),
            labels=values.labels(label or []),
            token=_token(token_file),
            models=tuple(str(path.absolute()) for path in models or ()),
        )
    except values.NotAllowedError as error:
        _fail(f"not allowed: {error}", _EXIT_USAGE)
    try:
        Work(typer.echo, dry=dry_run).install(wanted, start=start)
    except InstallError as error:
        _fail(str(error), _EXIT_FAILED)


def uninstall(
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove settings, identity, engines and downloads, too.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Take the agent's unit away. What it runs goes on, and its data stay, unless they are purged."""
    try:
        Work(typer.echo, dry=dry_run).uninstall(purge=purge)
    except InstallError as error:
        _fail(str(error), _EXIT_FAILED)


def _user(name: str) -> str:
    if not _USER.fullmatch(name):
        raise values.NotAllowedError("give a user's name: lower-case letters, digits, dashes and underscores")
    return name


def _token(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        token = (sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise values.NotAllowedError(f"--token-file {file} cannot be read: {error}") from error
    if not token or any(sign.isspace() for sign in token):
        raise values.NotAllowedError(
            f"--token-file {file} holds no join token; put the output of `motorpool-controller token join` into it"
        )
    return token


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"motorpool-agent: {message}", err=True)
    raise typer.Exit(code)
