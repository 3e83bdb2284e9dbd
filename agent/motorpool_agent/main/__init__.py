"""The ``motorpool-agent`` command, and the only place that names concrete classes."""

from motorpool_agent.main.commands import app, main

__all__ = ["app", "main"]
