"""Logging in to a real controller."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.e2e.fleet import Fleet

pytestmark = pytest.mark.e2e


def test_a_laptop_logs_in_with_a_token_and_a_fingerprint(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The SHA-256 that ends every join token is enough to know the controller by; no file is carried.
    """
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MOTORPOOL_TOKEN", tomllib.loads(fleet.client_file.read_text())["token"])
    server, fingerprint = f"127.0.0.1:{fleet.public_port}", fleet.join_token().rpartition("_")[2]

    done = fleet.command("motorpool", "login", server, "--ca-fingerprint", fingerprint, "--name", "lab")
    monkeypatch.delenv("MOTORPOOL_TOKEN")
    shown = fleet.command("motorpool", "cluster", MOTORPOOL_CONFIG="")

    assert "as admin; commands go to context lab from now on." in done.stdout
    assert "Your role" in shown.stdout
