"""tokens: bearer tokens of people, programs and joining machines."""

from __future__ import annotations

import enum
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from motorpool import v1
from motorpool_cli import lists, text
from motorpool_cli.client import TIMEOUT_SECONDS
from motorpool_cli.context import Output, client
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.output import Format, note, plain, print_document, print_table, say


class Role(enum.StrEnum):
    """What a token's holder may do."""

    JOIN = "join"
    READER = "reader"
    OPERATOR = "operator"
    ADMIN = "admin"


_ROLES = {
    Role.JOIN: v1.ROLE_JOIN,
    Role.READER: v1.ROLE_READER,
    Role.OPERATOR: v1.ROLE_OPERATOR,
    Role.ADMIN: v1.ROLE_ADMIN,
}


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    group = typer.Typer(no_args_is_help=True, help="Make, list and revoke tokens (admin).")
    group.command("create")(create)
    group.command("list")(list_tokens)
    group.command("revoke")(revoke)
    app.add_typer(group, name="tokens")


def create(
    role: Annotated[Role, typer.Option(help="What its holder may do; join enrols a node and nothing else.")],
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    ttl: Annotated[
        float | None,
        typer.Option(
            parser=text.parse_duration,
            metavar="TIME",
            help="How long it holds, e.g. 30m or 90d; one hour for join, without end for others.",
        ),
    ] = None,
    uses: Annotated[
        int | None, typer.Option(help="Uses of a join token, 1 if left out; negative for any number.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a token and print it; it is shown once."""
    with client(output) as connected:
        if uses is not None and (role is not Role.JOIN or uses == 0):
            raise CommandError(
                Exit.USAGE, "OPTION_INVALID", "--uses counts the uses of a join token, and is not 0: leave it out."
            )
        request = v1.CreateTokenRequest(role=_ROLES[role], description=description, uses=uses)
        if ttl is not None:
            request.ttl.CopyFrom(Duration(seconds=int(ttl)))
        made = connected.tokens.CreateToken(request, timeout=TIMEOUT_SECONDS)
    if output is not Format.TABLE:
        print_document(plain(made), output)
    else:
        note(f"{made.token.name} ({role}); it is shown this once:")
        print(made.secret)


def list_tokens(output: Output = Format.TABLE) -> None:
    """List the tokens, without their secrets."""
    with client(output) as connected:
        found = lists.list_tokens(connected)
    if output is not Format.TABLE:
        print_document({"tokens": [plain(token) for token in found]}, output)
        return
    print_table(
        ("NAME", "ROLE", "EXPIRES", "USES LEFT", "AGE", "DESCRIPTION"),
        (
            (
                text.bare(token.name),
                text.word(v1.Role, token.role).lower(),
                text.clock(token.expire_time) if token.HasField("expire_time") else "never",
                str(token.uses_left) if token.HasField("uses_left") else "any",
                text.age(token.create_time),
                token.description,
            )
            for token in found
        ),
        empty="No tokens.",
    )


def revoke(name: Annotated[str, typer.Argument(help="Name of the token.")], output: Output = Format.TABLE) -> None:
    """Revoke a token."""
    with client(output) as connected:
        connected.tokens.DeleteToken(v1.DeleteTokenRequest(name=text.full("tokens", name)), timeout=TIMEOUT_SECONDS)
    if output is not Format.TABLE:
        print_document({"deleted": text.full("tokens", name)}, output)
    else:
        say(f"{text.full('tokens', name)} is revoked")
