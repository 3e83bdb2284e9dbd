"""A node with or without a llama-server."""

from collections.abc import Callable
from pathlib import Path

import pytest

InstallProgram = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No llama-server that this machine may have is seen."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv("MOTORPOOL_LLAMA_SERVER", raising=False)


@pytest.fixture
def install_program(tmp_path: Path) -> InstallProgram:
    """Put a program on PATH that tells a version as llama-server does: on standard error."""

    def install(
        said: str = "version: 11434 (0c1f2e3)", *, status: int = 0, name: str = "llama-server", devices: str = ""
    ) -> Path:
        program = tmp_path / "bin" / name
        program.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo "{said}" >&2\n'
            f'[ "$1" = --list-devices ] && {{ {devices or "true"}; exit; }}\nexit {status}\n'
        )
        program.chmod(0o755)
        return program

    return install
