"""Finding an engine that is installed as a Python package."""

import json
import os
import sys
from pathlib import Path

import pytest

from motorpool_sdk.environments import EnvironmentFault, Installed, find_installed

PLATFORMS = {"torch-npu": "cann"}


def install(home: Path, **versions: str) -> Path:
    """Make an environment whose Python knows packages of these versions, with the command ``engine`` in it."""
    packages = home / "packages"
    for name, version in versions.items():
        metadata = packages / f"{name}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
    (home / "bin").mkdir(exist_ok=True, parents=True)
    python = home / "bin" / "python"
    # The real interpreter, with the packages' folder on its path: what is asked of it is really carried out.
    python.write_text(f'#!/bin/sh\nPYTHONPATH={json.dumps(str(packages))} exec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    command = home / "bin" / "engine"
    command.write_text(f"#!{python}\nraise SystemExit('asked to run')\n")
    command.chmod(0o755)
    return command


def found(path: Path, **env: str) -> Installed | None:
    """What is found with this folder on PATH."""
    return find_installed(
        "engine",
        package="engine",
        setting="MOTORPOOL_ENGINE",
        beside=tuple(PLATFORMS),
        env={**os.environ, "PATH": f"{path}:/usr/bin:/bin", **env},
    )


def test_without_one_there_is_none(tmp_path: Path) -> None:
    """
    A node without the engine has none, and that is no fault.
    """
    assert None is found(tmp_path)


@pytest.mark.parametrize(
    ("packages", "framework"),
    [
        ({"torch": "2.13.0+cpu"}, "cpu"),
        ({"torch": "2.9.0"}, "cuda"),
        ({"torch": "2.9.0+rocm6.4"}, "rocm"),
        ({"torch": "2.10.0+cpu", "torch_npu": "2.10.0"}, "cann"),
        ({}, "cuda"),
    ],
)
def test_the_command_on_path_is_found(tmp_path: Path, packages: dict[str, str], framework: str) -> None:
    """
    Version and framework are what the packages beside the command tell; the command itself is not run.
    """
    path = install(tmp_path, engine="0.5.23", **packages)

    engine = found(path.parent)

    assert engine is not None
    assert (str(path), "0.5.23", framework) == (engine.path, engine.versions["engine"], engine.framework(PLATFORMS))


@pytest.mark.parametrize("named", ["elsewhere", "elsewhere/bin/engine"])
def test_the_operator_names_an_environment_or_its_command(tmp_path: Path, named: str) -> None:
    """
    The setting wins over what is on PATH.
    """
    install(tmp_path, engine="0.5.9")
    path = install(tmp_path / "elsewhere", engine="0.5.23")

    engine = found(tmp_path / "bin", MOTORPOOL_ENGINE=str(tmp_path / named))

    assert engine is not None
    assert str(path) == engine.path


@pytest.mark.parametrize(
    ("named", "words"), [("missing", "is no program here"), ("empty", "no engine is installed there")]
)
def test_a_named_one_that_is_none_is_a_fault(tmp_path: Path, named: str, words: str) -> None:
    """
    What the operator named is used or complained about, never replaced by another one.
    """
    install(tmp_path, engine="0.5.23")
    install(tmp_path / "empty", torch="2.13.0")

    with pytest.raises(EnvironmentFault, match=words):
        found(tmp_path / "bin", MOTORPOOL_ENGINE=str(tmp_path / named / "bin" / "engine"))


def test_a_broken_one_on_path_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A command on PATH whose environment has no such package is left alone, and the agent's log says why.
    """
    path = install(tmp_path, torch="2.13.0")

    assert None is found(path.parent)
    assert f"{path} is not used" in capsys.readouterr().out
