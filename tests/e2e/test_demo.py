"""The README's first command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT
from tests.e2e.fleet import engines_below

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.timeout(600)
def test_the_demo_serves_a_model_and_leaves_nothing_running(tmp_path: Path, engines: Path) -> None:
    """
    The demo exits with 0 after an answer, and nothing that it started is left.
    """
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "engines").symlink_to(engines)

    done = subprocess.run(
        [sys.executable, "-m", "examples.demo.demo"],
        cwd=ROOT,
        env={**os.environ, "DEMO_DIR": str(tmp_path), "KEEP": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "Paris" in done.stdout
    assert "NO " not in done.stdout
    assert [] == engines_below(tmp_path)
