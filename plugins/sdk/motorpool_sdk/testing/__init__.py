"""Contracts that a plugin's own tests subclass, and a made-up machine for them.

They need pytest to run, and nothing but this SDK to import; ``scenarios`` imports pytest.
"""

from motorpool_sdk.testing.accelerator import AcceleratorContract
from motorpool_sdk.testing.backend import BackendContract
from motorpool_sdk.testing.machine import (
    FakeBus,
    FakeCommand,
    FakeLibrary,
    PluginChild,
    PluginRaisedError,
    compile_library,
)
from motorpool_sdk.testing.manifest import installed_manifest

__all__ = [
    "AcceleratorContract",
    "BackendContract",
    "FakeBus",
    "FakeCommand",
    "FakeLibrary",
    "PluginChild",
    "PluginRaisedError",
    "compile_library",
    "installed_manifest",
]
