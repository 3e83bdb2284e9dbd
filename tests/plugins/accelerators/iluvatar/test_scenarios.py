"""The plugin stands what every vendor's must."""

from tests.plugins.accelerators.harness.scenarios import CommandScenarios
from tests.plugins.accelerators.iluvatar.cards import MADE


class TestIluvatar(CommandScenarios):
    vendor = MADE
