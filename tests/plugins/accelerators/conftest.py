"""Plugins in processes of their own, ended with their test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.plugins.accelerators.harness.machine import PluginChild

StartChild = Callable[..., PluginChild]


@pytest.fixture(name="child")
def make_child() -> Iterator[StartChild]:
    """Start a plugin on libraries and commands in these folders."""
    started: list[PluginChild] = []

    def start(*arguments: object, **options: object) -> PluginChild:
        started.append(PluginChild(*arguments, **options))  # type: ignore[arg-type]  # as PluginChild says
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture(scope="session", name="built")
def make_built() -> dict[tuple[object, ...], Path]:
    """Libraries that were compiled already, by vendor and what they are without."""
    return {}
