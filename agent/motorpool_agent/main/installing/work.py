"""Carrying an installation out: each step looks first, says what it found or did, and may be done again."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from motorpool_agent import policy
from motorpool_agent.main.installing import places
from motorpool_agent.main.installing.places import Wanted

_COMMAND_SECONDS = 120.0
# Where it is not: containers, other inits, chroots.
_BOOTED = Path("/run/systemd/system")


class InstallError(Exception):
    """Why this machine cannot be installed, and what to do."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is done, or with ``dry`` only told."""

    tell: Callable[[str], None]
    dry: bool = False

    def install(self, wanted: Wanted, *, start: bool) -> None:
        """Make this machine a node under systemd, or bring what there is up to date."""
        self._demand_root()
        if start:
            self._demand_systemd()
        self._make_user(wanted.user)
        enrolled = (places.DATA_DIR / "identity" / "identity.json").exists()
        if not enrolled and wanted.token is None and not places.TOKEN_FILE.exists() and not self.dry:
            raise InstallError(
                "this machine is no node yet, and there is no join token for it; make one on the controller with "
                "`motorpool-controller token join`, and give it by --token-file (- reads standard input)"
            )
        if not enrolled and wanted.server is None and not places.SETTINGS_FILE.exists() and not self.dry:
            raise InstallError(
                "this machine is no node yet: give the controller's public listener by --server HOST:PORT"
            )
        if wanted.token is not None and not enrolled:
            self._write(places.TOKEN_FILE, wanted.token + "\n", 0o600, owner=wanted.user, secret=True)
        self._write_settings(wanted)
        if wanted.user != "root":
            self._write_policy(wanted)
        written = [
            self._write(places.UNITS / unit, places.unit_text(unit, wanted.user), 0o644) for unit in wanted.units
        ]
        started = [unit for unit in wanted.units if unit != places.LAUNCHER]
        if not start:
            self.tell(f"not started: systemctl enable --now {' '.join(started)}")
            return
        if any(written):
            self._run("systemctl", "daemon-reload")
        self._run("systemctl", "enable", "--quiet", *started)
        if wanted.user != "root":
            # The launcher itself comes anew with the next question; engines are systemd's, and notice nothing.
            self._run("systemctl", "stop", places.LAUNCHER)
            self._run("systemctl", "restart", places.SOCKET)
        # A restart touches no engine. It is wanted also where only the program changed: that is how one upgrades.
        self._run("systemctl", "restart", places.UNIT)

    def uninstall(self, *, purge: bool) -> None:
        """Take the agent's unit away; with ``purge`` its settings, state and downloads, too."""
        self._demand_root()
        left = _instances()
        if purge and left:
            raise InstallError(
                f"{len(left)} instances of this node stand in {places.DATA_DIR}: what is known of them would be lost, "
                "and they would run on; drain the node and delete it first, or leave --purge out"
            )
        units = [unit for unit in (places.UNIT, places.SOCKET, places.LAUNCHER) if (places.UNITS / unit).exists()]
        if units:
            if _BOOTED.exists():
                self._run("systemctl", "disable", "--quiet", "--now", *units)
            for unit in units:
                self._remove(places.UNITS / unit)
            if _BOOTED.exists():
                self._run("systemctl", "daemon-reload")
        else:
            self.tell(f"not there: {places.UNITS / places.UNIT}")
        kept = (places.SETTINGS_FILE, places.TOKEN_FILE, policy.DEFAULT_FILE, places.DATA_DIR, places.CACHE_DIR)
        for path in kept:
            if purge:
                self._remove(path)
            elif path.exists():
                self.tell(f"kept: {path}")
        if left:
            self.tell(
                f"{len(left)} instances run on, without an agent; `motorpool-agent install` brings one back to them"
            )

    def _write_settings(self, wanted: Wanted) -> None:
        text = places.settings_text(wanted)
        if places.SETTINGS_FILE.exists():
            same = places.SETTINGS_FILE.read_text(encoding="utf-8") == text
            what = "as asked for" if same else "yours; what was asked for on this line is not written into it"
            self.tell(f"kept: {places.SETTINGS_FILE} ({what})")
        else:
            # A unit's user may read it, and so may `motorpool-agent doctor` of anybody: there is no secret in it.
            self._write(places.SETTINGS_FILE, text, 0o644)

    def _write_policy(self, wanted: Wanted) -> None:
        """Have a launch policy stand, without which a launcher starts nothing."""
        if policy.DEFAULT_FILE.exists():
            self.tell(f"kept: {policy.DEFAULT_FILE}")
            return
        self._write(policy.DEFAULT_FILE, places.policy_text(wanted.models), 0o644)
        if not wanted.models:
            self.tell(
                "no folder of models is named in it (--models): models of hubs only, until a line of yours says more"
            )

    def _make_user(self, name: str) -> None:
        try:
            pwd.getpwnam(name)
        except KeyError:
            shell = "/usr/sbin/nologin"
            home = str(places.DATA_DIR.parent)
            self._run(
                "useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                f"--home-dir={home}",
                f"--shell={shell}",
                name,
            )

    def _write(self, path: Path, text: str, mode: int, *, owner: str = "root", secret: bool = False) -> bool:
        """Write a file whole, or not at all, unless it is so already; return whether it changed."""
        there = path.exists()
        if there and path.read_text(encoding="utf-8") == text:
            self.tell(f"as it should be: {path}")
            return False
        self.tell(f"{'write' if self.dry else 'changed' if there else 'wrote'}: {path}")
        if self.dry:
            if not secret:
                self.tell("".join(f"    {line}\n" for line in text.splitlines()).rstrip("\n"))
            return True
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            user = pwd.getpwnam(owner)
            os.fchown(file.fileno(), user.pw_uid, user.pw_gid)
            os.fsync(file.fileno())
        beside.replace(path)
        return True

    def _remove(self, path: Path) -> None:
        if not path.exists() and not path.is_symlink():
            return
        self.tell(f"{'remove' if self.dry else 'removed'}: {path}")
        if self.dry:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def _run(self, *command: str) -> None:
        self.tell(f"run: {' '.join(command)}")
        if self.dry:
            return
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=_COMMAND_SECONDS, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InstallError(f"{' '.join(command)}: {error}") from error
        if done.returncode:
            advice = _advice(command)
            raise InstallError(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}{advice}")

    def _demand_root(self) -> None:
        if os.geteuid() != 0 and not self.dry:
            raise InstallError(
                "only root may write units and users: run it by sudo, or see with --dry-run what it does"
            )

    def _demand_systemd(self) -> None:
        if not _BOOTED.exists() and not self.dry:
            raise InstallError(
                "systemd does not run this machine; start `motorpool-agent run` by what does, or write the files only "
                "with --no-start"
            )


def _advice(command: Sequence[str]) -> str:
    return "; `journalctl --unit motorpool-agent` says why" if "restart" in command else ""


def _instances() -> list[str]:
    folder = places.DATA_DIR / "instances"
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
