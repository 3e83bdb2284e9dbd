"""The plugin stands what every vendor's must."""

from motorpool_sdk.testing.scenarios import CommandScenarios
from tests.plugins.accelerators.harness.scenarios import AgentScenarios
from tests.plugins.accelerators.iluvatar.cards import MADE


class TestIluvatar(CommandScenarios, AgentScenarios):
    vendor = MADE
