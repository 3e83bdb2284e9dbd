"""Importing a plugin and letting it introduce itself. Done in the plugin's own process, and in tests."""

from __future__ import annotations

import importlib
from typing import TypeVar

import pluggy

from motorpool_sdk import hookspecs
from motorpool_sdk.accelerator import AcceleratorPlugin
from motorpool_sdk.backend import BackendPlugin
from motorpool_sdk.errors import PLUGIN_FAILED, PluginError

P = TypeVar("P")


def load_backend(module: str) -> BackendPlugin:
    """Return the backend plugin that ``module`` registers.

    Raises what the import raises, pluggy's PluginValidationError for a misspelt hook, and PluginError when not exactly
    one plugin registers.
    """
    manager = _introduced(module)
    backends: list[BackendPlugin] = []
    manager.hook.motorpool_register_backends(register=backends.append)
    return _only(backends, module, "motorpool_register_backends")


def load_accelerator(module: str) -> AcceleratorPlugin:
    """Return the accelerator plugin that ``module`` registers; raises like ``load_backend``."""
    manager = _introduced(module)
    accelerators: list[AcceleratorPlugin] = []
    manager.hook.motorpool_register_accelerators(register=accelerators.append)
    return _only(accelerators, module, "motorpool_register_accelerators")


def _introduced(module: str) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(importlib.import_module(module), name=module)
    manager.check_pending()
    return manager


def _only(plugins: list[P], module: str, hook: str) -> P:
    if len(plugins) != 1:
        raise PluginError(
            PLUGIN_FAILED,
            f"{module}: {hook} registered {len(plugins)} plugins; implement that hook with @hookimpl "
            "and call register once",
        )
    return plugins[0]
