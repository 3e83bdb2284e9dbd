"""Whole launches, as they are carried out."""

from pathlib import Path

from motorpool_custom.plugin import Custom
from tests.plugins.backends.custom.requests import GOLDEN
from tests.plugins.backends.golden import GoldenLaunches


class TestLaunches(GoldenLaunches):
    plugin = Custom()
    golden = GOLDEN
    folder = Path(__file__).parent / "launches"
