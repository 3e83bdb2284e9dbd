"""``motorpool-controller install`` and ``uninstall``: the controller as systemd's service, made and taken away.

Each step looks first, says what it found or did, and may be done again.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from motorpool_controller import config
from motorpool_controller.options import Advertise, AgentsListen, Exit, Listen, faults

UNIT = "motorpool-controller.service"
UNIT_FILE = Path("/etc/systemd/system") / UNIT
SETTINGS_FILE = config.DEFAULT_FILE
DATA_DIR = Path("/var/lib/motorpool/controller")

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_BOOTED = Path("/run/systemd/system")
_COMMAND_SECONDS = 360.0

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, with the files' contents.")]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("install")(install)
    app.command("uninstall")(uninstall)


def install(
    listen: Listen = None,
    agents_listen: AgentsListen = None,
    advertise: Advertise = None,
    user: Annotated[
        str | None,
        typer.Option(
            help="Who the controller is; made where there is no such user.",
            show_default="whose it is already, else motorpool",
        ),
    ] = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Enable and start it; else only write.")] = True,
    dry_run: DryRun = False,
) -> None:
    """Have systemd run a controller here, of a new cluster unless there is one; say it again after an upgrade."""
    user = user or _installed_user() or "motorpool"
    if not _USER.fullmatch(user):
        raise typer.BadParameter("give lower-case letters, digits, dashes and underscores", param_hint="--user")
    given = {"listen": listen, "agents_listen": agents_listen, "advertise": advertise}
    with faults():
        config.load({**given, "data_dir": DATA_DIR}, environment={}, file=Path(os.devnull))
    work = _Work(dry=dry_run)
    work.demand(systemd=start)
    work.make_user(user)
    if SETTINGS_FILE.exists():
        typer.echo(f"kept: {SETTINGS_FILE} (yours; what was asked for on this line is not written into it)")
    else:
        work.write(SETTINGS_FILE, settings_text({name: value for name, value in given.items() if value}))
    if (DATA_DIR / "client.toml").exists():
        typer.echo(f"as it should be: {DATA_DIR} (there is a cluster in it)")
    else:
        work.make_folder(DATA_DIR, user)
        work.run("runuser", "--user", user, "--", str(_program()), "init", "--config", str(SETTINGS_FILE))
    if work.write(UNIT_FILE, unit_text(user)) and start:
        work.run("systemctl", "daemon-reload")
    if not start:
        typer.echo("not started: systemctl enable --now motorpool-controller")
        return
    work.run("systemctl", "enable", "--quiet", UNIT)
    # Also where nothing changed: that is how a newer program comes to run. No model notices.
    work.run("systemctl", "restart", UNIT)
    typer.echo(
        f"{DATA_DIR}/client.toml holds an admin's token; a machine joins with\n"
        f"  {_program()} token join --config {SETTINGS_FILE}"
    )


def uninstall(
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove settings and the cluster, its authority's key with it, too.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Take the controller's unit away. Its data stay, unless they are purged; models run on."""
    work = _Work(dry=dry_run)
    work.demand(systemd=False)
    if UNIT_FILE.exists():
        if _BOOTED.exists():
            work.run("systemctl", "disable", "--quiet", "--now", UNIT)
        work.remove(UNIT_FILE)
        if _BOOTED.exists():
            work.run("systemctl", "daemon-reload")
    else:
        typer.echo(f"not there: {UNIT_FILE}")
    for path in (SETTINGS_FILE, DATA_DIR):
        if purge:
            work.remove(path)
        elif path.exists():
            typer.echo(f"kept: {path}")


def unit_text(user: str, program: Path | None = None) -> str:
    """Return the unit; ``program`` is this environment's own unless another one is named."""
    text = files("motorpool_controller").joinpath(UNIT).read_text(encoding="utf-8")
    for name, value in {"@PROGRAM@": program or _program(), "@CONFIG@": SETTINGS_FILE, "@USER@": user}.items():
        text = text.replace(name, _word(str(value)))
    return text


def settings_text(given: dict[str, str | list[str]]) -> str:
    """Return the controller's file; what is not said has the controller's own default."""
    lines = [
        "# Made by `motorpool-controller install`, once: yours from then on. The controller's README has all settings.",
        f"data_dir = {json.dumps(str(DATA_DIR))}",
    ]
    lines += [f"{name} = {json.dumps(value)}" for name, value in given.items()]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Work:
    """What is done, or with ``dry`` only told."""

    dry: bool

    def demand(self, *, systemd: bool) -> None:
        if self.dry:
            return
        if os.geteuid() != 0:
            _fail("only root may write units and users: run it by sudo, or see with --dry-run what it does")
        if systemd and not _BOOTED.exists():
            _fail("systemd does not run this machine; start `motorpool-controller run` by what does")

    def make_user(self, name: str) -> None:
        try:
            pwd.getpwnam(name)
        except KeyError:
            home = ("--no-create-home", f"--home-dir={DATA_DIR.parent}", "--shell=/usr/sbin/nologin")
            self.run("useradd", "--system", "--user-group", *home, name)

    def make_folder(self, path: Path, owner: str) -> None:
        typer.echo(f"{'make' if self.dry else 'made'}: {path}")
        if not self.dry:
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
            shutil.chown(path, owner)

    def write(self, path: Path, text: str) -> bool:
        """Write a file whole, or not at all, unless it is so already; return whether it changed."""
        there = path.exists()
        if there and path.read_text(encoding="utf-8") == text:
            typer.echo(f"as it should be: {path}")
            return False
        typer.echo(f"{'write' if self.dry else 'changed' if there else 'wrote'}: {path}")
        if self.dry:
            typer.echo("\n".join(f"    {line}" for line in text.splitlines()))
            return True
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text, encoding="utf-8")
        beside.chmod(0o644)
        beside.replace(path)
        return True

    def remove(self, path: Path) -> None:
        if not path.exists():
            return
        typer.echo(f"{'remove' if self.dry else 'removed'}: {path}")
        if self.dry:
            return
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    def run(self, *command: str) -> None:
        typer.echo(f"run: {' '.join(command)}")
        if self.dry:
            return
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=_COMMAND_SECONDS, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            _fail(f"{' '.join(command)}: {error}")
        if done.returncode:
            advice = "; `journalctl --unit motorpool-controller` says why" if "restart" in command else ""
            _fail(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}{advice}")


def _installed_user() -> str | None:
    try:
        lines = UNIT_FILE.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.removeprefix("User=") for line in lines if line.startswith("User=")), None)


def _program() -> Path:
    return Path(sys.executable).absolute().parent / "motorpool-controller"


def _word(text: str) -> str:
    """Return a word as a unit's line takes it: specifiers begin with a percent sign, variables with a dollar sign."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if any(sign.isspace() or sign in "\"'" for sign in text) else text


def _fail(message: str) -> NoReturn:
    typer.echo(f"motorpool-controller: {message}", err=True)
    raise typer.Exit(Exit.FAILED)
