"""The plugin stands what every vendor's must."""

from tests.plugins.accelerators.ascend.board import MADE
from tests.plugins.accelerators.harness.scenarios import CommandScenarios


class TestAscend(CommandScenarios):
    vendor = MADE
