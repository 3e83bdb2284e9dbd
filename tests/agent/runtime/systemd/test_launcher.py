"""The launcher for real."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests import booted
from tests.conftest import cannot_run_here


@pytest.mark.e2e
@pytest.mark.needs("systemd-run", "journalctl", "nsenter", "unshare", "setpriv")
@pytest.mark.promise("P6")
@pytest.mark.timeout(600)
def test_an_agent_without_rights_runs_engines_by_the_launcher(tmp_path: Path) -> None:
    """
    All that launched.py asks holds on a machine that systemd booted.
    """
    if reason := booted.missing():
        cannot_run_here(reason)
    with booted.Booted() as machine:
        done = machine.run(
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "--color=no"),
            *("-o", f"cache_dir={tmp_path / 'cache'}", f"--basetemp={tmp_path / 'inside'}"),
            os.fspath(Path(__file__).with_name("launched.py")),
        )

    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
