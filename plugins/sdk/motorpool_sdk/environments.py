"""Finding an engine that an operator installed as a Python package: its command, and what its environment holds.

Engines' own ``--version`` imports torch and takes up to 16 s; packages' metadata says the same in a tenth of one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 10.0
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+_-]{0,127}")
_ASK = """
import json, platform, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps({"python": platform.python_version(), "versions": found}))
"""
# What the local part of a version names: "0.32.0+cpu", torch's "2.9.0+cu129" and "2.9.0+rocm6.4", Hygon's
# "0.9.2+das.opt1.dtk2504", "0.8.3+corex.4.3.0". Without one, as the package index has it, it is CUDA's.
_LOCAL = {"cpu": "cpu", "dtk": "dtk", "das": "dtk", "corex": "corex", "maca": "maca", "metax": "maca"} | {
    "musa": "musa",
    "rocm": "rocm",
    "cu": "cuda",
}


class EnvironmentFault(Exception):  # noqa: N818  # what went wrong, not that something did
    """The environment that the operator named cannot be used."""


@dataclass(frozen=True, slots=True)
class Installed:
    """An engine that is installed here: its command, its package, and the versions of all that was asked for.

    ``python`` is the version of the Python that runs it.
    """

    path: str
    package: str
    versions: Mapping[str, str]
    python: str = ""

    @property
    def version(self) -> str:
        """The version that its package tells."""
        return self.versions[self.package]

    def framework(self, platforms: Mapping[str, str]) -> str:
        """Return what it was built for: by a vendor's package of ``platforms``, else its own version, or torch's."""
        for name, framework in platforms.items():
            if name in self.versions:
                return framework
        for name in (self.package, "torch"):
            local = self.versions.get(name, "").partition("+")[2].lower()
            for word, framework in _LOCAL.items():
                if re.search(rf"(^|[^a-z]){word}", local):
                    return framework
        return "cuda"


def find_installed(
    program: str, *, package: str, setting: str, beside: Sequence[str] = (), env: Mapping[str, str] = os.environ
) -> Installed | None:
    """Return the engine that the variable ``setting`` names, an environment or its command, else the one on PATH.

    None where there is none. Raises EnvironmentFault when the operator named one that is none: another in its place
    would be a surprise. ``package`` has to be in its environment, and ``beside`` is asked for too.
    """
    if named := env.get(setting):
        wanted = str(Path(named) / "bin" / program) if Path(named).is_dir() else named
        path = shutil.which(wanted, path=env.get("PATH"))
        if path is None:
            raise EnvironmentFault(
                f"{setting} is {named!r}, and {wanted} is no program here; name an environment with {package}, or its "
                "command, or unset it"
            )
        try:
            return _asked(path, package, beside)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise EnvironmentFault(
                f"{setting} is {named!r}, and no {package} is installed there: {error}; correct or unset it"
            ) from error
    path = shutil.which(program, path=env.get("PATH"))
    if path is None:
        return None
    try:
        return _asked(path, package, beside)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"{path} is not used: {error}")  # noqa: T201  # the agent logs it
        return None


def _asked(path: str, package: str, beside: Sequence[str]) -> Installed:
    command = Path(path).resolve()
    said = subprocess.run(
        [*_interpreter(command), "-c", _ASK, package, "torch", *beside],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
        check=True,
        text=True,
        errors="replace",
        # Nothing of the folder that the agent was started in is imported.
        cwd="/",
    ).stdout
    answer = json.loads(said)
    versions = answer["versions"]
    if not _VERSION.fullmatch(versions.get(package, "")):
        raise ValueError(
            f"the Python of {command} has no package {package}, but {sorted(versions) or 'none of its parts'}"
        )
    return Installed(path=str(command), package=package, versions=versions, python=answer["python"])


def _interpreter(command: Path) -> tuple[str, ...]:
    """Return the Python that runs a command: the one beside it, else the one that its first line names."""
    beside = command.with_name("python")
    if os.access(beside, os.X_OK):
        return (str(beside),)
    with command.open("rb") as file:
        first = file.readline(512)
    if not first.startswith(b"#!"):
        raise ValueError(f"{command} is no Python command: it names no interpreter in its first line")
    return tuple(first[2:].decode("utf-8", "replace").split())
