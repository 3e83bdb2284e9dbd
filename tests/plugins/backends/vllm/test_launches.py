"""Whole launches, as they are carried out; vLLM 0.32.0's own parser takes each (tests/e2e/test_vllm.py)."""

from pathlib import Path

from motorpool_vllm import node
from motorpool_vllm.plugin import Vllm
from tests.plugins.backends.golden import GoldenLaunches
from tests.plugins.backends.vllm.requests import GOLDEN


class TestLaunches(GoldenLaunches):
    plugin = Vllm()
    golden = GOLDEN
    folder = Path(__file__).parent / "launches"
    sources = (Path(node.__file__),)
