"""What can go wrong between a host and its plugins.

SdkError
├── ManifestError   a plugin.toml cannot be read, or says something it must not
├── WireError       a frame between a host and a plugin's process is broken
└── PluginError     a plugin was asked, and did not answer as it must
"""

from __future__ import annotations

PLUGIN_UNKNOWN = "PLUGIN_UNKNOWN"
PLUGIN_CRASHED = "PLUGIN_CRASHED"
PLUGIN_TIMEOUT = "PLUGIN_TIMEOUT"
PLUGIN_QUARANTINED = "PLUGIN_QUARANTINED"
PLUGIN_FAILED = "PLUGIN_FAILED"


class SdkError(Exception):
    """The root of this tree."""


class ManifestError(SdkError):
    """A manifest that cannot be used: names the file, the key and what to do."""

    def __init__(self, file: str, key: str, message: str) -> None:
        """Join file, key and message into one sentence."""
        super().__init__(f"{file}: {key}: {message}" if key else f"{file}: {message}")
        self.file = file
        self.key = key


class WireError(SdkError):
    """A frame that is too long, cut off, or not what its place asks for."""


class PluginError(SdkError):
    """A plugin that gave no answer; ``reason`` is one of this module's constants, the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        """Keep the reason beside the message."""
        super().__init__(message)
        self.reason = reason
        self.message = message
