"""The plugin stands what every vendor's must."""

from motorpool_sdk.testing.scenarios import CommandScenarios
from tests.plugins.accelerators.ascend.board import MADE
from tests.plugins.accelerators.harness.scenarios import AgentScenarios


class TestAscend(CommandScenarios, AgentScenarios):
    vendor = MADE
