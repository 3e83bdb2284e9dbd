"""``motorpool-controller token``: works on the data directory, beside a running controller."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from motorpool_controller.config import Settings
from motorpool_controller.options import ConfigFile, DataDir, faults, settings_of, write_down
from motorpool_controller.services.roles import Role

if TYPE_CHECKING:
    from motorpool_controller.store.tokens import TokenTable

Ttl = Annotated[str | None, typer.Option(help="How long it holds, e.g. 90s, 30m, 1h, 7d.")]
Description = Annotated[str, typer.Option(help="What it is for.")]

tokens_app = typer.Typer(help="Tokens of people, programs and joining machines.", no_args_is_help=True)


@tokens_app.command("create")
def create_token(
    role: Annotated[str, typer.Option(help="reader, operator or admin.")],
    ttl: Ttl = None,
    description: Description = "",
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> None:
    """Print a new token for a person or a program."""
    if role not in {Role.READER, Role.OPERATOR, Role.ADMIN}:
        raise typer.BadParameter(f"{role} is none of reader, operator, admin", param_hint="--role")
    _print_token(Role(role), ttl, None, description, data_dir, config_file)


@tokens_app.command("join")
def join_token(
    ttl: Ttl = "1h",
    uses: Annotated[int, typer.Option(help="How many machines may join with it; -1 for any number.")] = 1,
    description: Description = "",
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> None:
    """Print a new token with which machines join."""
    _print_token(Role.JOIN, ttl, uses, description, data_dir, config_file)


@tokens_app.command("list")
def list_tokens(data_dir: DataDir = None, config_file: ConfigFile = None) -> None:
    """Show the tokens there are; never their secrets."""
    from rich.console import Console  # noqa: PLC0415  # as in main: what a command needs is loaded when it is called
    from rich.table import Table  # noqa: PLC0415

    with faults(), _token_table(settings_of(data_dir, config_file)) as (table, _):
        found = table.list()
    shown = Table("TOKEN", "ROLE", "CREATED", "EXPIRES", "USES LEFT", "DESCRIPTION", box=None, pad_edge=False)
    for token in found:
        shown.add_row(
            token.token_id,
            token.role,
            _time(token.create_time),
            "never" if token.expire_time is None else _time(token.expire_time),
            "any" if token.uses_left is None else str(token.uses_left),
            token.description,
        )
    # In a pipe there is no width to fit into.
    Console(width=None if sys.stdout.isatty() else 200).print(shown)


@tokens_app.command("revoke")
def revoke_token(
    token: Annotated[str, typer.Argument(help="Its id, as `token list` shows it.")],
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> None:
    """Revoke a token, at once, also of a running controller."""
    with faults(), _token_table(settings := settings_of(data_dir, config_file)) as (table, _):
        table.delete(token.removeprefix("tokens/"))
        write_down(settings, "token revoke", f"tokens/{token.removeprefix('tokens/')}")
    typer.echo(f"Revoked tokens/{token.removeprefix('tokens/')}.", err=True)


@contextmanager
def _token_table(settings: Settings) -> Iterator[tuple[TokenTable, str]]:
    """Give the tokens of a data directory, beside its running controller, and the cluster's id."""
    from motorpool_controller.store.database import cluster_id, open_database  # noqa: PLC0415
    from motorpool_controller.store.tokens import TokenTable  # noqa: PLC0415

    engine = open_database(settings.database, migrate=False)
    try:
        yield TokenTable(engine), cluster_id(engine)
    finally:
        engine.dispose()


def _print_token(
    role: Role,
    ttl: str | None,
    uses: int | None,
    description: str,
    data_dir: Path | None,
    config_file: Path | None,
) -> None:
    from motorpool_controller.security.authorities import load  # noqa: PLC0415
    from motorpool_controller.services.tokens import make_token  # noqa: PLC0415
    from motorpool_controller.store.store import utc_now  # noqa: PLC0415

    lifetime = None if ttl is None else _lifetime(ttl)
    with faults():
        settings = settings_of(data_dir, config_file)
        with _token_table(settings) as (table, cluster):
            authority = load(settings.data_dir, cluster).serving
            made = make_token(role, description, lifetime, uses, now=utc_now(), ca_fingerprint=authority.fingerprint)
            table.add(made[0])
            write_down(settings, f"token {'join' if role is Role.JOIN else 'create'}", f"tokens/{made[0].token_id}")
    # Alone on its line, so that a script can keep it.
    typer.echo(made[1])


def _lifetime(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,9})([smhd])", text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no time; write e.g. 90s, 30m, 1h or 7d", param_hint="--ttl")
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    return timedelta(**{units[found[2]]: int(found[1])})


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}Z"
