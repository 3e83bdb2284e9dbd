"""Whole launches, as they are carried out."""

from pathlib import Path

from motorpool_sglang.plugin import Sglang
from tests.plugins.backends.golden import GoldenLaunches
from tests.plugins.backends.sglang.requests import GOLDEN


class TestLaunches(GoldenLaunches):
    plugin = Sglang()
    golden = GOLDEN
    folder = Path(__file__).parent / "launches"
