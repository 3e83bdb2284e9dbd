"""Plugins in processes of their own, ended with their test."""

from collections.abc import Callable, Iterator

import pytest

from motorpool_sdk.testing.machine import PluginChild

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
