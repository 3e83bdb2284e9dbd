"""What a plugin's process prints, taken off a pipe so that it never fills, bounded so that it never floods."""

from __future__ import annotations

import asyncio
import logging
import os

log = logging.getLogger(__name__)

_MOST_LINE_BYTES = 2000
_LINES_PER_WINDOW = 50
_WINDOW_SECONDS = 60.0


class PluginLog(asyncio.Protocol):
    """Reads lines as they come, logs some of them and keeps the last one."""

    def __init__(self, plugin: str, write_fd: int) -> None:
        self.write_fd = write_fd
        self.last_line = ""
        self._plugin = plugin
        self._rest = b""
        self._window_end = 0.0
        self._lines_in_window = 0
        self._transport: asyncio.BaseTransport | None = None
        self._over = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, plugin: str) -> PluginLog:
        """Return a log whose ``write_fd`` is for the process."""
        read_fd, write_fd = os.pipe()
        plugin_log = cls(plugin, write_fd)
        await asyncio.get_running_loop().connect_read_pipe(lambda: plugin_log, os.fdopen(read_fd, "rb", 0))
        return plugin_log

    def close_write_end(self) -> None:
        """Close the process's end here: the process has a copy of its own."""
        os.close(self.write_fd)

    async def close(self) -> None:
        """Stop reading, also when some grandchild still holds the other end."""
        if self._transport is not None:
            self._transport.close()
            await self._over

    async def ended(self) -> None:
        """Wait until everyone who could print is gone."""
        await asyncio.shield(self._over)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what closes it."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what was printed apart into lines, cutting those that are too long."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MOST_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._take(line)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the line that had no end."""
        self._take(self._rest)
        self._rest = b""
        if not self._over.done():
            self._over.set_result(None)

    def _take(self, line: bytes) -> None:
        text = line[:_MOST_LINE_BYTES].decode(errors="replace").strip()
        if not text:
            return
        self.last_line = text
        now = asyncio.get_running_loop().time()
        if now >= self._window_end:
            self._window_end, self._lines_in_window = now + _WINDOW_SECONDS, 0
        self._lines_in_window += 1
        if self._lines_in_window <= _LINES_PER_WINDOW:
            log.info("plugin %s: %s", self._plugin, text)
        elif self._lines_in_window == _LINES_PER_WINDOW + 1:
            log.warning(
                "plugin %s prints more than %d lines a minute; the rest of this minute is dropped",
                self._plugin,
                _LINES_PER_WINDOW,
            )
