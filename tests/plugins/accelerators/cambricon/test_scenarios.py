"""The plugin stands what every vendor's must."""

from tests.plugins.accelerators.cambricon.cards import MADE
from tests.plugins.accelerators.harness.scenarios import CommandScenarios


class TestCambricon(CommandScenarios):
    vendor = MADE
