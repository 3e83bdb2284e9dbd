"""Whole launches, as they are carried out."""

from pathlib import Path

from motorpool_vox_box.plugin import VoxBox
from tests.plugins.backends.golden import GoldenLaunches
from tests.plugins.backends.vox_box.requests import GOLDEN


class TestLaunches(GoldenLaunches):
    plugin = VoxBox()
    golden = GOLDEN
    folder = Path(__file__).parent / "launches"
