"""Contracts that a plugin's own tests subclass. They need pytest to run, and nothing but this SDK to import."""

from motorpool_sdk.testing.accelerator import AcceleratorContract
from motorpool_sdk.testing.backend import BackendContract
from motorpool_sdk.testing.manifest import installed_manifest

__all__ = ["AcceleratorContract", "BackendContract", "installed_manifest"]
