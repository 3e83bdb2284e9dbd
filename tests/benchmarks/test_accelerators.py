"""What the benchmark of vendors' plugins measures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import accelerators
from benchmarks.figures import BenchmarkError
from motorpool_sdk.testing.vendor import ShownLibrary
from tests.plugins.accelerators.vendors import VENDORS

MADE = VENDORS["metax"]


@pytest.fixture(name="library")
def make_library(tmp_path: Path) -> ShownLibrary:
    """One vendor's made-up library."""
    return ShownLibrary(MADE, tmp_path / "library", MADE.compile(tmp_path / "compiled"))


def test_a_plugins_cost_is_measured(library: ShownLibrary) -> None:
    """
    Times and memory of the plugin's process, on as many cards as were asked for.
    """
    cost = accelerators._cost_on(MADE, library, 3)

    assert 3 == cost.devices
    assert 0 < cost.sample_ms
    assert 0 < cost.fingerprint_ms
    assert 2**20 < cost.resident_bytes < 2**30


def test_figures_of_other_cards_than_those_made_up_are_none(library: ShownLibrary) -> None:
    """
    A plugin that tells of other devices, as of a library that is really there, is not measured for the made-up ones.
    """
    fewer = replace(MADE, card=lambda number, *, used: MADE.card(0, used=used))

    with pytest.raises(BenchmarkError, match="metax told of 1 devices, and there are 2 cards"):
        accelerators._cost_on(fewer, library, 2)
