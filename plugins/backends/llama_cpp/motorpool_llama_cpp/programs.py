"""The llama-server program that is installed on this node, where one is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SETTING = "MOTORPOOL_LLAMA_SERVER"
_SECONDS = 8.0
# "version: 11434 (0c1f2e3)" of llama.cpp's own builds, "version: 0.7.0 …" of Debian's.
_VERSION = re.compile(r"^version:\s*([0-9][0-9A-Za-z.+-]{0,63})", re.MULTILINE)


class ProgramError(Exception):
    """The program that the operator named cannot be used."""


@dataclass(frozen=True, slots=True)
class Program:
    """A llama-server that runs here: ``version`` is "b11434" for a build number, else as it says."""

    path: str
    version: str


def find(env: Mapping[str, str] = os.environ) -> Program | None:
    """Return the program that MOTORPOOL_LLAMA_SERVER names, else one on PATH that runs, else None.

    Raises ProgramError when the operator named one that does not run: another in its place would be a surprise.
    """
    if named := env.get(SETTING):
        path = shutil.which(named, path=env.get("PATH"))
        if path is None:
            raise ProgramError(f"{SETTING} is {named!r}, which is no program here; correct or unset it")
        try:
            return _asked(path)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise ProgramError(
                f"{SETTING} is {named!r}, and it did not tell its version: {error}; correct or unset it"
            ) from error
    path = shutil.which("llama-server", path=env.get("PATH"))
    if path is None:
        return None
    try:
        return _asked(path)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"{path} is not used: it did not tell its version: {error}")  # noqa: T201  # the agent logs it
        return None


def _asked(path: str) -> Program:
    asked = subprocess.run(
        [path, "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
        check=True,
        text=True,
        errors="replace",
    )
    return Program(path=str(Path(path).resolve()), version=version_of(asked.stderr + asked.stdout))


def version_of(said: str) -> str:
    """Return the version in what ``llama-server --version`` said; raises ValueError when there is none."""
    match = _VERSION.search(said)
    if match is None:
        raise ValueError(f"no line 'version: …' in {said[:200]!r}")
    version = match[1]
    return f"b{version}" if version.isdigit() else version
