"""The one fault of telemetry: TelemetryError."""

from __future__ import annotations


class TelemetryError(Exception):
    """What a setting wants told cannot be: an address is taken, or a package is missing."""
