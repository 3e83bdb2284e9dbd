"""Whole launches, as they are carried out."""

from pathlib import Path

from motorpool_llama_cpp.plugin import LlamaCpp
from tests.plugins.backends.golden import GoldenLaunches
from tests.plugins.backends.llama_cpp.requests import GOLDEN


class TestLaunches(GoldenLaunches):
    plugin = LlamaCpp()
    golden = GOLDEN
    folder = Path(__file__).parent / "launches"
