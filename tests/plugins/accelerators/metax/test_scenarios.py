"""The plugin stands what every vendor's must."""

from tests.plugins.accelerators.harness.scenarios import CommandScenarios
from tests.plugins.accelerators.metax.cards import MADE


class TestMetax(CommandScenarios):
    vendor = MADE
