"""The plugin stands what every vendor's must."""

from tests.plugins.accelerators.amd.cards import MADE
from tests.plugins.accelerators.harness.scenarios import CommandScenarios


class TestAmd(CommandScenarios):
    vendor = MADE
