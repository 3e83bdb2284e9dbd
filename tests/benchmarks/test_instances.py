"""The benchmark of an agent with many instances, with few."""

from pathlib import Path

import pytest

from benchmarks.instances import measured

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_few_instances_are_measured_and_adopted(tmp_path: Path) -> None:
    """
    It runs engines, has a killed agent's successor adopt them, and leaves nothing behind.
    """
    figures = {figure.key: figure.value for figure in measured(tmp_path, 2, 3, 0.2)}

    assert 20 < figures["agent_2_resident_mb"] < 200
    assert 0 < figures["restart_0_seconds"]
    assert 0 < figures["adoption_3_seconds"]
    assert 1 < figures["shim_resident_mb"] < 50
