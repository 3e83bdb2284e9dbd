"""The plugin stands what every vendor's must."""

from tests.plugins.accelerators.harness.scenarios import AgentScenarios
from tests.plugins.accelerators.nvidia.machine import MADE


class TestNvidia(AgentScenarios):
    vendor = MADE
