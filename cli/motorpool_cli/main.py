"""The `motorpool` command: the options before every command, and the commands."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn, Protocol, runtime_checkable

import typer
from typer.core import TyperGroup

from motorpool_cli.commands import (
    apply,
    backends,
    bans,
    cluster,
    delete,
    deploy,
    describe,
    events,
    explain,
    files,
    fleet,
    login,
    logs,
    maintenance,
    models,
    plan,
    rollout,
    scale,
    strays,
    tokens,
    update,
    workloads,
)
from motorpool_cli.context import Options, complete_context, keep
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.output import Format, print_error

EPILOG = (
    "Exit codes: 0 done, 1 the work failed, 2 usage or client configuration, 3 controller unreachable, 4 not allowed, "
    "5 not found, 6 state forbids it, 7 value refused, 130 interrupted."
)


@runtime_checkable
class _ParserError(Protocol):
    """What the parser of the command line raises; its class is private to typer."""

    exit_code: int

    def show(self) -> None: ...
    def format_message(self) -> str: ...


INTERRUPTED_SECONDS = 2.0
"""Longer than a command that was interrupted takes to say so."""
_OF_INSTANCES = frozenset({"adopt", "release", "logs", "describe"})
"""Commands about an instance, which may be said after ``instances`` as well."""


class Group(TyperGroup):
    """The commands; a line that cannot be parsed and an interrupt end like every other failure."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that a line means: ``instances adopt`` is ``adopt``."""
        said_twice = args[0] == "instances" and args[1:2] and args[1] in _OF_INSTANCES
        return super().resolve_command(ctx, args[1:] if said_twice else args)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Run the command line, and exit."""
        words = list(sys.argv[1:] if args is None else args)
        options["standalone_mode"] = False
        try:
            result = super().main(words, *rest, **options)
        except typer.Abort:
            _fail(CommandError(Exit.INTERRUPTED, "INTERRUPTED", "Interrupted."), words)
        except Exception as error:
            if not isinstance(error, _ParserError):
                raise
            if not error.format_message() or _output(words) is Format.TABLE:
                error.show()
                sys.exit(error.exit_code)
            _fail(CommandError(Exit.USAGE, "COMMAND_LINE_INVALID", error.format_message()), words)
        sys.exit(result if isinstance(result, int) else Exit.OK)


def _fail(error: CommandError, words: Sequence[str]) -> NoReturn:
    print_error(error, _output(words))
    sys.exit(error.exit_code)


def _output(line: Sequence[str]) -> Format:
    """Return the format that a line asks for, though it cannot be parsed."""
    words = list(itertools.takewhile(lambda word: word != "--", line))  # what follows is the engine's
    for form in Format:
        if any(word in {f"--output={form}", f"-o{form}"} for word in words) or any(
            word in {"--output", "-o"} and value == form for word, value in itertools.pairwise(words)
        ):
            return form
    return Format.TABLE


app = typer.Typer(
    name="motorpool",
    cls=Group,
    help="Drive a Motorpool cluster: see its nodes, deploy models, find out why something does not fit.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"motorpool {version('motorpool-cli')}")
        raise typer.Exit


@app.callback()
def keep_options(
    line: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(envvar="MOTORPOOL_CONFIG", help="Client file that `motorpool-controller init` wrote."),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            envvar="MOTORPOOL_CONTEXT", autocompletion=complete_context, help="Context that `motorpool login` made."
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(envvar="MOTORPOOL_SERVER", help="host:port of the controller's public listener."),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(envvar="MOTORPOOL_CA_FILE", help="PEM certificate of the cluster's authority."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="MOTORPOOL_TOKEN", help="Bearer token; other users of this machine see it here, in the variable not."
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep the options for whichever command follows."""
    options = Options(config=config, context=context, server=server, ca_file=ca_file, token=token)
    keep(options.as_typed(line))


for _noun in (
    *(login, cluster, fleet, backends, maintenance, bans, strays, models, files, plan, deploy, update, rollout, scale),
    *(apply, workloads, delete, describe, explain, logs, events, tokens),
):
    _noun.add_to(app)


def main() -> NoReturn:
    """Run the command line, and end the process."""
    if hasattr(signal, "SIGPIPE"):
        # As other commands do: `motorpool ps | head -1` ends it without a word. gRPC's sockets raise no SIGPIPE.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal of another encoding gets escapes, not a traceback
            stream.reconfigure(errors="backslashreplace")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
        code = int(Exit.OK)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(Exit.OK if end.code is None else Exit.FAILED)
    _end(code)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Interrupt what is done. In a callback of gRPC's that is swallowed: the process ends then all the same."""
    last = threading.Timer(INTERRUPTED_SECONDS, _end, [int(Exit.INTERRUPTED)])
    last.daemon = True
    last.start()
    raise KeyboardInterrupt


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    # All is said: gRPC's threads are not waited for, which now and then takes long.
    os._exit(code)
