"""An environment of an agent's own, into which wheels are installed as an operator would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path


def run(*command: str | Path, **env: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True, slots=True)
class Environment:
    """An agent's environment of its own: ours, and what is installed into it with pip."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def agent_command(self) -> tuple[str, ...]:
        return (str(self.python), "-m", "motorpool_agent.main")

    def make(self) -> None:
        run(sys.executable, "-m", "venv", "--without-pip", self.folder)
        [packages] = self.folder.glob("lib/python*/site-packages")
        ours = sysconfig.get_path("purelib")
        (packages / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")

    def install(self, *projects: Path) -> None:
        """Build a wheel of each, and install it as an operator would; nothing is fetched."""
        wheels = Path(tempfile.mkdtemp(prefix="wheels-", dir=self.folder))
        offline = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")
        run(sys.executable, "-m", "pip", "wheel", *offline, "--no-build-isolation", "-w", wheels, *projects)
        run(sys.executable, "-m", "pip", "--python", self.python, "install", *offline, *wheels.glob("*.whl"))


def of_version(project: Path, version: str, folder: Path) -> Path:
    """Return a copy of a project of ours below ``folder`` that is of another version, and otherwise the same."""
    copied = folder / f"{project.name}-{version}"
    shutil.copytree(project, copied, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    settings = copied / "pyproject.toml"
    changed, count = re.subn(
        r'^version = ".*"$', f'version = "{version}"', settings.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE
    )
    assert 1 == count
    settings.write_text(changed, encoding="utf-8")
    return copied
