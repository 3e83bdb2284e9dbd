"""The plugin stands what every vendor's must."""

from motorpool_sdk.testing.scenarios import CommandScenarios
from tests.plugins.accelerators.amd.cards import MADE
from tests.plugins.accelerators.harness.scenarios import AgentScenarios


class TestAmd(CommandScenarios, AgentScenarios):
    vendor = MADE
