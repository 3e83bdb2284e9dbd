"""Whole launches, as they are carried out."""

from pathlib import Path

from motorpool_mindie.plugin import Mindie
from tests.plugins.backends.golden import GoldenLaunches
from tests.plugins.backends.mindie.requests import GOLDEN


class TestLaunches(GoldenLaunches):
    plugin = Mindie()
    golden = GOLDEN
    folder = Path(__file__).parent / "launches"
