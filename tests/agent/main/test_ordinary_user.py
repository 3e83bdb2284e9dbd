"""`motorpool-agent doctor` and `devices` for a user who is not root and may open no device."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from motorpool_sdk.testing.machine import FakeLibrary, compile_library
from tests.ordinary import NOBODY, open_folder, run_as_nobody
from tests.plugins.accelerators.ascend import board as ascend
from tests.plugins.accelerators.nvidia import machine as nvidia

pytestmark = [pytest.mark.slow, pytest.mark.needs("unshare")]

AGENT = (sys.executable, "-m", "motorpool_agent.main")


@pytest.fixture(scope="module", name="libraries")
def make_libraries() -> Iterator[Path]:
    """NVML and DCMI, of whose devices this user may open none, in folders that all may read."""
    with open_folder() as folder:
        for name, made, refusal in (("nvml", nvidia.MADE, "init 4\n"), ("dcmi", ascend.MADE, "init -8002\n")):
            built = compile_library(made.source, folder / f"{name}-built" / made.library)
            FakeLibrary(folder / name, built).show(made.cards(2), made.first + refusal)
        yield folder


def asked(libraries: Path, *command: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Run a command of the agent's as nobody; return its status and what it printed as JSON."""
    done = run_as_nobody(
        *(*AGENT, *command, "--output", "json"),
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": "/nonexistent",
            "LD_LIBRARY_PATH": f"{libraries / 'nvml'}:{libraries / 'dcmi'}",
        },
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.promise("P5")
def test_doctor_says_which_rights_are_missing(libraries: Path) -> None:
    """
    Each vendor's line names what may not be opened and whose group helps; folders that cannot be written are problems
    with the user's number; nothing is written, and nothing ends in a trace.
    """
    code, said = asked(libraries, "doctor")
    found = {finding["check"]: finding for finding in said["findings"]}

    assert 7 == code
    user = NOBODY if os.geteuid() == 0 else os.geteuid()
    assert f"this is user {user}" in found["data directory"]["summary"]
    assert "--data-dir" in found["data directory"]["remedy"]
    told = {
        vendor: f"{found[f'accelerator {vendor}']['summary']} {found[f'accelerator {vendor}']['remedy']}"
        for vendor in ("nvidia", "ascend")
    }
    assert (
        "the agent's user may not open /dev/nvidiactl or /dev/nvidia*; give it the group that owns them"
        in told["nvidia"]
    )
    assert "dcmi_init: -8002 (not permitted)" in told["ascend"]
    assert "run the agent as root or in the group HwHiAiUser" in told["ascend"]


def test_devices_are_told_with_why_they_are_not_seen(libraries: Path) -> None:
    """
    `devices --explain` has no device, and of each source where it was found and what it lacks.
    """
    _, said = asked(libraries, "devices", "--explain")

    text = json.dumps(said)
    assert str(libraries / "dcmi") in text
    assert "may not open /dev/nvidiactl" in text
    assert "nvidia-smi is neither on PATH" in text
