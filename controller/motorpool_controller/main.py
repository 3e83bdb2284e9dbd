"""The ``motorpool-controller`` command. Exit codes: 0 done, 1 failed, 2 usage or configuration, 5 data directory.

What a command needs is loaded when it is called: a plan on file wants no server, and is there before one would be.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from motorpool_controller import audit_commands, backup_commands, install_commands
from motorpool_controller.authority_commands import authority_app
from motorpool_controller.options import Advertise, AgentsListen, ConfigFile, DataDir, Exit, Listen, faults, settings_of
from motorpool_controller.token_commands import tokens_app

app = typer.Typer(
    name="motorpool-controller",
    help="The Motorpool controller: decides where models run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(tokens_app, name="token")
app.add_typer(authority_app, name="ca")
backup_commands.add_to(app)
audit_commands.add_to(app)
install_commands.add_to(app)


def main() -> None:
    """Run the command line."""
    app()


@app.command()
def init(
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
    listen: Listen = None,
    agents_listen: AgentsListen = None,
    advertise: Advertise = None,
    authority: Annotated[
        Path | None,
        typer.Option(help="File of `ca export` (- reads it): join the cluster in the PostgreSQL database instead."),
    ] = None,
) -> None:
    """Make a cluster: its authority, its database, an admin's token in DATA_DIR/client.toml."""
    from motorpool_controller.services.initialization import initialise_data_dir  # noqa: PLC0415
    from motorpool_controller.services.joining import join  # noqa: PLC0415

    with faults():
        settings = settings_of(data_dir, config_file, listen, agents_listen, advertise)
        if authority is not None:
            trust = join(settings, authority)
            typer.echo(
                f"{settings.data_dir} is another controller's of cluster {trust.signing.cluster_id}.\n"
                "Start it as the first one, with its own addresses (--listen, --agents-listen, --advertise):\n"
                "  motorpool-controller run\n"
                "Then delete the authority's file: who has it can be this cluster."
            )
            return
        made = initialise_data_dir(settings)
    where = "" if data_dir is None else f" --data-dir {shlex.quote(str(settings.data_dir))}"
    where += "" if config_file is None else f" --config {shlex.quote(str(config_file.absolute()))}"
    given = [("--listen", listen), ("--agents-listen", agents_listen)]
    given += [("--advertise", host) for host in advertise or ()]
    same = "".join(f" {flag} {shlex.quote(value)}" for flag, value in given if value)
    typer.echo(
        f"Made cluster {made.cluster_id} in {settings.data_dir}.\n"
        f"{made.client_file} holds an admin's token: keep it to yourself.\n"
        f"Its authority's fingerprint, by which others know it (`motorpool login --ca-fingerprint`):\n"
        f"  {made.fingerprint}\n\n"
        "Start the controller:\n"
        f"  motorpool-controller run{where}{same}\n"
        "Print a token with which one machine can join:\n"
        f"  motorpool-controller token join{where}\n"
        "Ask the controller:\n"
        f"  motorpool --config {shlex.quote(str(made.client_file))} nodes"
    )


@app.command()
def run(
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
    listen: Listen = None,
    agents_listen: AgentsListen = None,
    advertise: Advertise = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.")] = None,
    metrics_listen: Annotated[
        str | None, typer.Option(help="Metrics and health over HTTP, e.g. 127.0.0.1:7402.", show_default="nowhere")
    ] = None,
) -> None:
    """Run the controller until SIGTERM or SIGINT."""
    from motorpool_controller.serving import serve  # noqa: PLC0415  # see above

    with faults():
        serve(
            settings_of(data_dir, config_file, listen, agents_listen, advertise, log_level, log_format, metrics_listen)
        )


@app.command()
def inspect(
    source: Annotated[str, typer.Argument(help="/path[:FILE] here, hf:OWNER/NAME[:FILE][@REVISION], ms:OWNER/NAME.")],
    parameters: Annotated[list[str] | None, typer.Argument(help="After `--`: the engine's, to estimate with.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print it as `motorpool model inspect -o json` does.")] = False,
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> None:
    """Say what a model's headers say and what it needs, without a controller; of a path also without a network."""
    from motorpool_controller.services.offline import inspect_offline  # noqa: PLC0415

    with faults():
        typer.echo(inspect_offline(source, settings_of(data_dir, config_file), parameters or (), as_json=json))


@app.command()
def plan(  # options
    fleet: Annotated[Path, typer.Option(help="JSON with nodes, backends and instances.")],
    deployment: Annotated[
        list[Path],
        typer.Option(help="JSON of a deployment, with its model's facts; may be repeated. - reads one from each line."),
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="text or json; a line each of several.")] = "text",
    places: Annotated[int, typer.Option(help="So many places of the first instance are told; 0 means all.")] = 20,
    skip: Annotated[int, typer.Option(help="After so many of the best.")] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="What was placed stands for the deployments after it.")] = False,
) -> None:
    """Say where a deployment would go in a fleet on file, and why not elsewhere; without a server or a network.

    The fleet is read once: with `--deployment -` each deployment written to standard input is answered at once.
    """
    from motorpool_controller.services.offline_plans import Wishes, answers  # noqa: PLC0415

    wishes = Wishes(deployments=deployment, output=output, places=places, skip=skip, keep=keep)
    wrong = False
    with faults():
        for answer in answers(fleet, wishes, sys.stdin):
            typer.echo(answer.text, err=answer.wrong and output == "text")
            wrong |= answer.wrong
    if wrong:
        raise typer.Exit(Exit.FAILED)
