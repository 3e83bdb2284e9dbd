"""The systemd executor for real."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests import booted
from tests.conftest import cannot_run_here


@pytest.mark.e2e
@pytest.mark.needs("systemd-run", "journalctl", "nsenter", "unshare")
@pytest.mark.promise("P1")
@pytest.mark.promise("P3")
@pytest.mark.timeout(900)
def test_units_keep_the_contract(tmp_path: Path) -> None:
    """
    All that units.py asks of the executor holds on a machine that systemd booted.
    """
    if reason := booted.missing():
        cannot_run_here(reason)
    with booted.Booted() as machine:
        done = machine.run(
            sys.executable,
            "-m",
            "pytest",
            *(
                "-q",
                "-p",
                "no:xdist",
                "-o",
                f"cache_dir={tmp_path / 'cache'}",
                f"--basetemp={tmp_path / 'inside'}",
                "--color=no",
            ),
            os.fspath(Path(__file__).with_name("units.py")),
        )

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
