"""The plugin stands what every vendor's must."""

from tests.plugins.accelerators.harness.scenarios import CommandScenarios
from tests.plugins.accelerators.mthreads.cards import MADE


class TestMthreads(CommandScenarios):
    vendor = MADE
