"""The vLLM that is installed on this node, where one is, and what it was built for.

``vllm --version`` imports torch and takes 5 to 16 s; its package's metadata says the same within a tenth of a second.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SETTING = "MOTORPOOL_VLLM"
CPU = "cpu"
_SECONDS = 10.0
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+_-]{0,127}")

# Distributions that bring a vendor's platform to vLLM, by entry point `vllm.platform_plugins`.
_PLATFORMS = {"vllm-ascend": "cann", "vllm-metax": "maca", "vllm-musa": "musa"}
# What the local part of a version names, as in "0.32.0+cpu", torch's "2.9.0+rocm6.4", Hygon's "0.9.2+das.opt1.dtk2504"
# or "0.8.3+corex.4.3.0". Wheels without one are the package index's own: CUDA.
_LOCAL = {"cpu": CPU, "dtk": "dtk", "das": "dtk", "corex": "corex", "maca": "maca", "metax": "maca", "musa": "musa"} | {
    "rocm": "rocm",
    "cu": "cuda",
}
_ASK = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class InstallationError(Exception):
    """The vLLM that the operator named cannot be used."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A vLLM that is installed here: its command, the version that its package tells, and what it runs on."""

    path: str
    version: str
    framework: str


def find(env: Mapping[str, str] = os.environ) -> Installation | None:
    """Return the vLLM that MOTORPOOL_VLLM names, an environment or its command, else the one on PATH, else None.

    Raises InstallationError when the operator named one that is none: another in its place would be a surprise.
    """
    if named := env.get(SETTING):
        wanted = str(Path(named) / "bin" / "vllm") if Path(named).is_dir() else named
        path = shutil.which(wanted, path=env.get("PATH"))
        if path is None:
            raise InstallationError(
                f"{SETTING} is {named!r}, and {wanted} is no program here; name an environment with vLLM, or its "
                "command, or unset it"
            )
        try:
            return _asked(path)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise InstallationError(
                f"{SETTING} is {named!r}, and no vLLM is installed there: {error}; correct or unset it"
            ) from error
    path = shutil.which("vllm", path=env.get("PATH"))
    if path is None:
        return None
    try:
        return _asked(path)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"{path} is not used: {error}")  # noqa: T201  # the agent logs it
        return None


def _asked(path: str) -> Installation:
    command = Path(path).resolve()
    said = subprocess.run(
        [*_interpreter(command), "-c", _ASK, "vllm", "torch", *_PLATFORMS],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
        check=True,
        text=True,
        errors="replace",
        # Nothing of the folder that the agent was started in is imported.
        cwd="/",
    ).stdout
    versions = json.loads(said)
    if not _VERSION.fullmatch(versions.get("vllm", "")):
        raise ValueError(f"the Python of {command} has no package vllm, but {sorted(versions) or 'none of its parts'}")
    return Installation(path=str(command), version=versions["vllm"], framework=framework_of(versions))


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


def framework_of(versions: Mapping[str, str]) -> str:
    """Return what a vLLM was built for, by the versions of it, of torch and of vendors' platforms."""
    for name, framework in _PLATFORMS.items():
        if name in versions:
            return framework
    for name in ("vllm", "torch"):
        local = versions.get(name, "").partition("+")[2].lower()
        for word, framework in _LOCAL.items():
            if re.search(rf"(^|[^a-z]){word}", local):
                return framework
    return "cuda"
