"""The launcher for real."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests import booted
from tests.booted import ROOT
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
    # Engines have a /tmp of their own: a tree that lies there is shown to them elsewhere.
    tree = "/run/tree"
    inside = [
        *(f"{tree}/{os.path.relpath(sys.executable, ROOT)}", "-m", "pytest", "-q", "-p", "no:xdist", "--color=no"),
        *("-o", f"cache_dir={tmp_path / 'cache'}", f"--basetemp={tmp_path / 'inside'}"),
        f"{tree}/{Path(__file__).with_name('launched.py').relative_to(ROOT)}",
    ]
    with booted.Booted() as machine:
        script = f'mkdir {tree} && mount --bind "$0" {tree} && cd {tree} && exec "$@"'
        done = machine.run("sh", "-c", script, str(ROOT), *inside)

    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
