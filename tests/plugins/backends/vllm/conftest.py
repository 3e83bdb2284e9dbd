"""A node with or without a vLLM."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

InstallVllm = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No vLLM that this machine may have is seen."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv("MOTORPOOL_VLLM", raising=False)


@pytest.fixture
def install_vllm(tmp_path: Path) -> InstallVllm:
    """Make an environment whose Python knows packages of these versions, with the command ``vllm`` in it."""

    def install(folder: str = "", **versions: str) -> Path:
        home = tmp_path / folder
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
        command = home / "bin" / "vllm"
        command.write_text(f"#!{python}\nraise SystemExit('asked to run')\n")
        command.chmod(0o755)
        return command

    return install
