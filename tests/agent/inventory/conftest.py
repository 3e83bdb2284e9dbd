"""Plugin packages made for a test, and a table that asks them with little patience."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from motorpool_agent.inventory import Patience, PluginTable
from tests.plugins.made_plugins import MakePlugin, write_plugin

OpenTable = Callable[..., Awaitable[PluginTable]]

PATIENCE = Patience(
    inventory_seconds=5.0,
    call_seconds=2.0,
    sample_seconds=1.0,
    refresh_seconds=30.0,
    first_backoff_seconds=0.01,
    most_backoff_seconds=0.02,
    stop_seconds=2.0,
)


@pytest.fixture
def make_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlugin:
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, **options: str) -> str:
        return write_plugin(tmp_path, name, **options)

    return make


@pytest.fixture
async def open_table() -> AsyncIterator[OpenTable]:
    """A table of the named plugins that were all asked once; closed when the test ends."""
    async with AsyncExitStack() as stack:

        async def open_(
            *allow: str,
            block: tuple[str, ...] = (),
            patience: Patience = PATIENCE,
            notify: Callable[[], None] = lambda: None,
        ) -> PluginTable:
            table = PluginTable(allow=allow, block=block, notify=notify, patience=patience)
            stack.push_async_callback(table.close)
            await table.start()
            await table.wait_ready()
            return table

        yield open_
