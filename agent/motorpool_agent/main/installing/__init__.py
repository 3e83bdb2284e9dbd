"""Making this machine a node under systemd, and taking that away again."""

from motorpool_agent.main.installing.commands import add_to

__all__ = ["add_to"]
