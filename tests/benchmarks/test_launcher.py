"""The benchmark of the launcher, with few requests."""

import os
from pathlib import Path

import pytest

from benchmarks.launcher import measured

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.geteuid() != 0, reason="the launcher is root's")]


def test_a_few_starts_are_judged(tmp_path: Path) -> None:
    """
    It runs the launcher, which denies what is asked, and a server that only answers; both are measured.
    """
    figures = {figure.key: figure.value for figure in measured(tmp_path, 3, 2)}

    assert 5 < figures["launcher_resident_mb"] < 100
    assert 0 < figures["echoed_ms"]
    assert 1 < figures["judged_ratio"]
