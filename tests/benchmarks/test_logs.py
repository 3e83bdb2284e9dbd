"""The benchmark of logs, with few lines."""

from pathlib import Path

import pytest

from benchmarks.logs import measured

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_few_lines_are_followed_whole(tmp_path: Path) -> None:
    """
    It follows an engine that writes, misses no line, and reads the same lines from the files.
    """
    figures = {figure.key: figure.value for figure in measured(tmp_path, 2_000, 2)}

    assert 0 < figures["follow_lines_per_second"]
    assert 0 < figures["direct_mb_per_second"]
    assert 0 <= figures["agent_cpu_seconds_per_100_mb"]
