"""The releases in this repository's history, and environments with their wheels alone.

A release is a commit named ``Release X.Y.Z``. Its wheels are built from it as they were then, and installed beside the
third-party packages of this environment, which they are compatible with by their own requirements, and nothing of ours.
"""

from __future__ import annotations

import fcntl
import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import ROOT
from tests.e2e.environment import run

CACHE = ROOT / ".cache" / "releases"
MEMBERS = ("proto", "formats", "telemetry", "plugins/sdk", "plugins/backends/llama_cpp", "agent", "cli", "controller")
_SUBJECT = re.compile(r"(?P<commit>[0-9a-f]{40}) Release (?P<version>\d+\.\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class Release:
    """A commit whose wheels were given away."""

    version: str
    commit: str

    def programs(self) -> Path:
        """Return the folder of its commands, installed from its wheels; made the first time."""
        folder = CACHE / f"{self.version}-{self.commit[:12]}"
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)  # the tests' workers share it
            if not (folder / "done").exists():
                shutil.rmtree(folder, ignore_errors=True)
                self._install(folder)
                (folder / "done").touch()
        return folder / "environment" / "bin"

    def _install(self, folder: Path) -> None:
        source, wheels, environment = folder / "source", folder / "wheels", folder / "environment"
        archive = subprocess.run(
            ["git", "archive", "--format=tar", self.commit], cwd=ROOT, check=True, capture_output=True
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(source, filter="data")
        run(sys.executable, "-m", "venv", "--without-pip", environment)
        [packages] = environment.glob("lib/python*/site-packages")
        _link_third_parties(folder / "third-parties", packages)
        offline = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")
        # A member that was made later is in no older release.
        projects = [source / member for member in MEMBERS if (source / member).exists()]
        run(sys.executable, "-m", "pip", "wheel", *offline, "--no-build-isolation", "-w", wheels, *projects)
        python = environment / "bin" / "python"
        run(sys.executable, "-m", "pip", "--python", python, "install", *offline, *wheels.glob("*.whl"))


def is_shallow() -> bool:
    """Return whether this clone's history was cut off."""
    return "true" == run("git", "-C", ROOT, "rev-parse", "--is-shallow-repository").strip()


def releases() -> list[Release]:
    """Return the releases before what stands here, the newest first."""
    log = run("git", "-C", ROOT, "log", "--first-parent", "--format=%H %s")
    return [Release(found["version"], found["commit"]) for found in map(_SUBJECT.fullmatch, log.splitlines()) if found]


def _link_third_parties(folder: Path, packages: Path) -> None:
    """Have an environment see all that this one has, but what is ours."""
    folder.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("motorpool", "_motorpool", "_editable_impl_motorpool")):
            (folder / entry.name).symlink_to(entry)
    (packages / "third-parties.pth").write_text(f"{folder}\n")
