"""The hooks through which a plugin introduces itself. pluggy introduces; it does not dispatch.

A plugin package has, at its top or in the module that its manifest names::

    from motorpool_sdk import hookimpl

    @hookimpl
    def motorpool_register_backends(register):
        register(MyBackend())
"""

from __future__ import annotations

from collections.abc import Callable

import pluggy

from motorpool_sdk.accelerator import AcceleratorPlugin
from motorpool_sdk.backend import BackendPlugin

PROJECT = "motorpool"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def motorpool_register_backends(register: Callable[[BackendPlugin], None]) -> None:
    """Call ``register`` once with the backend plugin."""


@hookspec
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Call ``register`` once with the accelerator plugin."""
