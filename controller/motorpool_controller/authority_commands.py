"""``motorpool-controller ca``: another authority in the place of the cluster's, beside a running controller."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from motorpool_controller.options import ConfigFile, DataDir, faults, settings_of, write_down

if TYPE_CHECKING:
    from motorpool_controller.security.authorities import Trust
    from motorpool_controller.services.rotation import Standing, Status, Taken

Force = Annotated[bool, typer.Option("--force", help="Do it although it locks nodes out; they have to enrol again.")]

authority_app = typer.Typer(
    help="The cluster's authority, and another one in its place: rotate, then switch, then finish.",
    no_args_is_help=True,
)


@authority_app.command("status")
def status(data_dir: DataDir = None, config_file: ConfigFile = None) -> None:
    """Show the authorities, and which nodes do not trust the newest one yet."""
    from motorpool_controller.services import rotation  # noqa: PLC0415  # as in main

    with faults():
        found = rotation.status(settings_of(data_dir, config_file))
    _show(found)


@authority_app.command("rotate")
def rotate(data_dir: DataDir = None, config_file: ConfigFile = None) -> None:
    """Make a second authority: it signs agents' certificates from now on, and both are trusted."""
    from motorpool_controller.services import rotation  # noqa: PLC0415
    from motorpool_controller.store.store import utc_now  # noqa: PLC0415

    with faults():
        settings = settings_of(data_dir, config_file)
        taken = rotation.begin(settings, utc_now())
        _tell(taken)
        if taken.anew:
            write_down(settings, "ca rotate", taken.trust.signing.fingerprint)
    typer.echo(
        f"{'Both authorities are' if taken.anew else 'It was done before: both authorities are'} trusted; the new "
        f"one's fingerprint is\n  {taken.trust.signing.fingerprint}\n\n"
        "Agents in session fetch it by themselves; those that are away do when they are back.\n"
        f"People and programs need the new {settings.data_dir}/ca.pem, with both: `motorpool cluster` brings a "
        "context up to date; hand the file to other clients.\n"
        "Watch with `motorpool-controller ca status`; then go on with `motorpool-controller ca switch`.\n"
        "Make a backup now: an earlier one does not know the new authority."
    )


@authority_app.command("switch")
def switch(force: Force = False, data_dir: DataDir = None, config_file: ConfigFile = None) -> None:
    """Have the controller itself show a certificate of the new authority; join tokens of before end."""
    from motorpool_controller.services import rotation  # noqa: PLC0415
    from motorpool_controller.store.store import utc_now  # noqa: PLC0415

    with faults():
        settings = settings_of(data_dir, config_file)
        taken = rotation.switch(settings, utc_now(), force=force)
        _tell(taken)
        if taken.anew:
            write_down(settings, "ca switch --force" if taken.forced else "ca switch", taken.trust.signing.fingerprint)
    typer.echo(
        f"{'New' if taken.anew else 'It was done before: new'} connections are shown the new authority's certificate.\n"
        "Join tokens made before do not fit it: make others. Who trusts the old one alone needs the new ca.pem.\n"
        "When all is well: `motorpool-controller ca finish`."
    )


@authority_app.command("finish")
def finish(force: Force = False, data_dir: DataDir = None, config_file: ConfigFile = None) -> None:
    """Trust the old authority no more: whatever it signed is worth nothing from now on."""
    from motorpool_controller.services import rotation  # noqa: PLC0415

    with faults():
        settings = settings_of(data_dir, config_file)
        taken = rotation.finish(settings, force=force)
        _tell(taken)
        write_down(settings, "ca finish --force" if taken.forced else "ca finish", taken.trust.signing.fingerprint)
    typer.echo(
        "The old authority is trusted no more, and its key is gone from here. Agents in session forget it, too.\n"
        f"{settings.data_dir}/ca.pem holds the new one alone. Make a backup, and delete those of before: they would "
        "bring the old one back."
    )


@authority_app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="A new file, for its owner alone; - writes to standard output.")],
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> None:
    """Write the authority, its key too, to a file with which another controller joins this cluster."""
    from motorpool_controller.services.joining import export_authority  # noqa: PLC0415

    with faults():
        settings = settings_of(data_dir, config_file)
        trust = export_authority(settings, file)
        write_down(settings, "ca export", trust.signing.fingerprint)
    typer.echo(
        f"{file} holds the authority's key: who has it can be this cluster. Carry it to the other machine, say there\n"
        "  motorpool-controller init --authority FILE\n"
        "with the same `database` (`ca import FILE` where it is a controller already), and delete it on both.",
        err=True,
    )


@authority_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A file of `ca export`; - reads standard input.")],
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> None:
    """Have this controller, which must not run, use the authority that another one of its cluster has now."""
    from motorpool_controller.services.joining import import_authority  # noqa: PLC0415

    with faults():
        settings = settings_of(data_dir, config_file)
        trust = import_authority(settings, file)
        write_down(settings, "ca import", trust.signing.fingerprint)
    typer.echo(f"Its authority's fingerprint is {trust.signing.fingerprint}; start it: `motorpool-controller run`.")


def _tell(taken: Taken) -> None:
    if taken.forced:
        typer.echo(f"Locked out, to be enrolled again: {', '.join(taken.forced)}.", err=True)


def _show(found: Status) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    trust = found.trust
    rotation = trust.rotation
    lines = [f"Authority: {trust.serving.fingerprint} (the controller shows a certificate of it)"]
    if rotation is None:
        lines.append("No rotation is under way.")
    else:
        lines += [
            f"Trusted, too: {each.fingerprint}{' (the new one)' if each is trust.signing else ' (the old one)'}"
            for each in trust.trusted
            if each is not trust.serving
        ]
        lines.append(f"Rotation: {rotation.step.value}, began {rotation.begin_time:%Y-%m-%d %H:%M:%S}Z")
        step = "switch" if trust.serving is not trust.signing else "finish"
        lines.append(
            f"{len(found.behind)} of {len(found.nodes)} nodes would be locked out by `ca {step}`."
            if found.behind
            else f"No node would be locked out by `ca {step}`; clients outside are not known here."
        )
    typer.echo("\n".join(lines))
    # Without a rotation an agent that does not tell is no trouble.
    shown = {each.node: each for each in (*(found.behind if rotation else ()), *found.trusting_more)}
    if not shown:
        return
    table = Table("NODE", "STATE", "SINCE", "AGENT", "TRUSTS", box=None, pad_edge=False)
    for each in sorted(shown.values(), key=lambda one: one.node):
        since = "" if each.state_time is None else f"{each.state_time:%Y-%m-%d %H:%M:%S}Z"
        table.add_row(each.node, each.state, since, each.agent_version, _trusts(each, trust))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _trusts(node: Standing, trust: Trust) -> str:
    if not node.trusted:
        return "not told: its agent is older than rotations, or was never in session"
    if not node.knows(trust.signing.fingerprint):
        return "the old one alone"
    return "the new one, and one that the cluster trusts no more"
