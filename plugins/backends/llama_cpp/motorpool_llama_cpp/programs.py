"""The llama-server program that is installed on this node, where one is, and what it runs on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SETTING = "MOTORPOOL_LLAMA_SERVER"
CPU = "cpu"
# Of the 15 s that a profile may take; a CUDA build without a persistent driver wakes every card first.
_SECONDS = 12.0
# "version: 11434 (0c1f2e3)" of llama.cpp's own builds, "version: 0.7.0 …" of Debian's.
_VERSION = re.compile(r"^version:\s*([0-9][0-9A-Za-z.+-]{0,63})", re.MULTILINE)
# "  CUDA0: NVIDIA H200 (143156 MiB, 142630 MiB free)" of --list-devices: the name that a build's ggml gives a backend,
# and a number. In lower case it is the framework, whoever's it is: a stranger's build needs no word of ours.
_DEVICE = re.compile(r"^\s+([A-Za-z][A-Za-z_]{0,31})[0-9]+: ", re.MULTILINE)
# ggml compares these names without regard to case; people read them in a launch command.
_SPELLED = {"rocm": "ROCm", "vulkan": "Vulkan"}


class ProgramError(Exception):
    """The program that the operator named cannot be used."""


@dataclass(frozen=True, slots=True)
class Program:
    """A llama-server that runs here: ``version`` is "b11434" for a build number, else as it says.

    ``frameworks`` are those of the devices that it sees, and the processors.
    """

    path: str
    version: str
    frameworks: tuple[str, ...] = (CPU,)


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
    with ThreadPoolExecutor(2) as pool:
        version = pool.submit(_said, path, "--version")
        listed = pool.submit(_said, path, "--list-devices")
    return Program(
        path=str(Path(path).resolve()), version=version_of(version.result()), frameworks=_frameworks(path, listed)
    )


def _frameworks(path: str, listed: Future[str]) -> tuple[str, ...]:
    try:
        return frameworks_of(listed.result())
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"{path} is used on processors only: it did not list its devices: {error}")  # noqa: T201  # logged
        return (CPU,)


def _said(path: str, option: str) -> str:
    asked = subprocess.run(
        [path, option],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
        check=True,
        text=True,
        errors="replace",
    )
    return asked.stderr + asked.stdout


def version_of(said: str) -> str:
    """Return the version in what ``llama-server --version`` said; raises ValueError when there is none."""
    match = _VERSION.search(said)
    if match is None:
        raise ValueError(f"no line 'version: …' in {said[:200]!r}")
    version = match[1]
    return f"b{version}" if version.isdigit() else version


def frameworks_of(said: str) -> tuple[str, ...]:
    """Return the frameworks of the devices in what ``llama-server --list-devices`` said, and the processors."""
    return (CPU, *sorted({name.lower() for name in _DEVICE.findall(said)} - {CPU}))


def device_names(framework: str, count: int) -> tuple[str, ...]:
    """Return what llama-server calls the first ``count`` devices of a framework that it sees."""
    name = _SPELLED.get(framework, framework.upper())
    return tuple(f"{name}{number}" for number in range(count))
