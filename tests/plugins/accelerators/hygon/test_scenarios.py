"""The plugin stands what every vendor's must."""

from tests.plugins.accelerators.harness.scenarios import CommandScenarios
from tests.plugins.accelerators.hygon.cards import MADE


class TestHygon(CommandScenarios):
    vendor = MADE
