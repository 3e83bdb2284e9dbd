"""What this node has: the machine, its plugins, and what they answer."""

from motorpool_agent.inventory.host import HostFacts, HostUsage, facts, lineage, measure
from motorpool_agent.inventory.plugin_process import Patience
from motorpool_agent.inventory.plugin_status import PluginState, PluginStatus, PluginUsage
from motorpool_agent.inventory.plugins import PluginTable
from motorpool_sdk import PluginError

__all__ = [
    "HostFacts",
    "HostUsage",
    "Patience",
    "PluginError",
    "PluginState",
    "PluginStatus",
    "PluginTable",
    "PluginUsage",
    "facts",
    "lineage",
    "measure",
]
