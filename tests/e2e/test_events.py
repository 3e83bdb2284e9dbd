"""Events as a person follows them, over the controller's restart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.fleet import BIN, Fleet

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_followed_events_outlive_the_controller(tmp_path: Path) -> None:
    """
    What happens before and after the controller was killed comes once, in order; Ctrl-C ends it with 130.
    """
    fleet = Fleet(tmp_path, tmp_path / "engines")
    try:
        controller = fleet.start_controller()
        _create(fleet, "first")
        with subprocess.Popen(
            [BIN / "motorpool", "events", "--follow", "--output", "json"],
            env={**os.environ, "MOTORPOOL_CONFIG": str(fleet.client_file)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as following:
            assert following.stdout is not None
            subjects = _until(following, "first")
            _create(fleet, "second")
            subjects += _until(following, "second")
            controller.kill()
            fleet.start_controller()
            _create(fleet, "third")
            subjects += _until(following, "third")
            following.send_signal(signal.SIGINT)
            left, errors = following.communicate(timeout=30)
        subjects += [json.loads(line)["subject"] for line in left.splitlines()]
    finally:
        fleet.close()

    created = [each for each in subjects if each.startswith("deployments/")]
    assert ["deployments/first", "deployments/second", "deployments/third"] == list(dict.fromkeys(created))
    assert len(subjects) == len(set(subjects))
    assert 130 == following.returncode
    assert "The controller does not answer; waiting for it.\n" == errors


def _create(fleet: Fleet, name: str) -> None:
    fleet.command("motorpool", "deploy", name, "--model", "/models/none.gguf", "--replicas", "0")


def _until(following: subprocess.Popen[str], name: str) -> list[str]:
    """Return what the events are about, up to one of this deployment."""
    assert following.stdout is not None
    subjects: list[str] = []
    while f"deployments/{name}" not in subjects:
        subjects.append(json.loads(following.stdout.readline())["subject"])
    return subjects
