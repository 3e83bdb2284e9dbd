"""``motorpool-controller backup``, ``restore``, ``export`` and ``apply``: the cluster in a file, and back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from motorpool_controller.options import ConfigFile, DataDir, Exit, faults, settings_of

CLIENT_FILE = "client.toml"
"""What `init` made for the cluster's first admin."""

if TYPE_CHECKING:
    from motorpool_controller.services.backups import Backup


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("backup")(backup)
    app.command("restore")(restore)
    app.command("export")(export)
    app.command("apply")(apply)


def backup(
    file: Annotated[Path, typer.Argument(help="A new file; - for standard output.")],
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> None:
    """Write the cluster, its authority's key with it, to a file; a running controller goes on. Keep it to yourself."""
    from motorpool_controller.services.backups import back_up  # noqa: PLC0415  # as in main
    from motorpool_controller.store.store import utc_now  # noqa: PLC0415

    streamed = str(file) == "-"
    if streamed and sys.stdout.isatty():
        raise typer.BadParameter(
            "standard output is a terminal; name a file, or pipe it to a program", param_hint="FILE"
        )
    with faults():
        made = back_up(
            settings_of(data_dir, config_file),
            None if streamed else file,
            utc_now(),
            stream=sys.stdout.buffer if streamed else None,
        )
    typer.echo(f"Backed up cluster {made.cluster_id}: {_counts(made)}.", err=streamed)


def restore(
    file: Annotated[Path, typer.Argument(help="What `backup` wrote.")],
    replace: Annotated[bool, typer.Option("--replace", help="Move aside the cluster that is there.")] = False,
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> None:
    """Put a backup into DATA_DIR, where no controller may run; agents take the restored controller for a newer one."""
    from motorpool_controller.services.backups import restore as restored  # noqa: PLC0415  # as in main
    from motorpool_controller.store.store import utc_now  # noqa: PLC0415

    with faults():
        settings = settings_of(data_dir, config_file)
        made = restored(settings, file, utc_now(), replace=replace)
    aside = f"What was there lies in {made.replaced}.\n" if made.replaced else ""
    typer.echo(
        f"Restored cluster {made.cluster_id} as it was at {made.time:%Y-%m-%d %H:%M:%S} UTC: {_counts(made)}.\n{aside}"
        "What happened since is forgotten:\n"
        "- Instances begun since run on and are left alone; events of their nodes name them (ASSIGNMENT_UNKNOWN).\n"
        "- Instances that ended since are begun again.\n"
        "- Machines that joined since have to join again; tokens made since are no longer good.\n"
        "- Tokens and nodes that were revoked or deleted since are back: revoke and delete them again.\n"
        "Then start it: motorpool-controller run"
    )


def export(
    secrets: Annotated[bool, typer.Option("--secrets", help="With the values of environments, else ***.")] = False,
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> None:
    """Print what the cluster is asked to be, as `motorpool export` does, for `motorpool apply`; needs no controller."""
    from motorpool_controller.services.exports import export as exported  # noqa: PLC0415  # as in main

    with faults():
        typer.echo(exported(settings_of(data_dir, config_file), secrets=secrets))


def apply(
    file: Annotated[list[Path], typer.Option("--file", "-f", help="What `export` wrote; - reads standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; nothing is.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Delete deployments and backends that no file names.")] = False,
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> None:
    """Make the cluster of DATA_DIR as files say, by the controller that runs there: `motorpool apply`, as its admin."""
    with faults():
        admin = settings_of(data_dir, config_file).data_dir / CLIENT_FILE
    # Beside this command first: of this version, and perhaps not on PATH.
    places = os.pathsep.join([str(Path(sys.argv[0]).parent), os.environ.get("PATH", os.defpath)])
    command = shutil.which("motorpool", path=places)
    if command is None:
        typer.echo(
            "motorpool-controller: the command `motorpool` is not installed here, by which a controller is spoken to: "
            f"pip install motorpool-cli, or run it elsewhere: motorpool --config {admin} apply",
            err=True,
        )
        raise typer.Exit(Exit.FAILED)
    options = [*(["--dry-run"] if dry_run else []), *(["--prune"] if prune else [])]
    files = [word for each in file for word in ("--file", str(each))]
    done = subprocess.run([command, "--config", str(admin), "apply", *files, *options], check=False)
    raise typer.Exit(done.returncode)


def _counts(made: Backup) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in made.counts.items())
