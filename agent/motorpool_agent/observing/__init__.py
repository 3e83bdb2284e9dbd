"""Metrics and health over HTTP, where an address for them is set."""
