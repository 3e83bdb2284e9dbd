"""The plugin stands what every vendor's must."""

from motorpool_sdk.testing.scenarios import CommandScenarios
from tests.plugins.accelerators.harness.scenarios import AgentScenarios
from tests.plugins.accelerators.nvidia.machine import MADE


class TestNvidia(CommandScenarios, AgentScenarios):
    vendor = MADE
