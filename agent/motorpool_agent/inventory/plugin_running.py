"""A plugin's process while it runs: how it is started, its connection, its log, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping

from motorpool_agent.inventory.plugin_channel import Channel
from motorpool_agent.inventory.plugin_log import PluginLog
from motorpool_sdk import Found, Manifest, PluginError
from motorpool_sdk.errors import PLUGIN_CRASHED

# What a plugin may know of the agent's environment; the rest, join tokens included, is none of its business.
_PASSED_ON = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONPATH",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
)


class Running:
    """A started process. ``end`` must be awaited once, however the process ended."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel, plugin_log: PluginLog) -> None:
        self.process = process
        self.channel = channel
        self.log = plugin_log

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @classmethod
    async def spawn(cls, found: Found, manifest: Manifest, ended: Callable[[Running], None]) -> Running:
        """Start the plugin's process; ``ended`` is called when it closes its end. Raises PluginError.

        Not to be cancelled: asyncio leaves half a start behind.
        """
        ours, theirs = socket.socketpair()
        channel = await Channel.open(ours)
        plugin_log = await PluginLog.open(found.entry_point)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-u", "-P", "-m", "motorpool_sdk.child"),
                *(found.package, manifest.module),
                *("--fd", str(theirs.fileno())),
                *("--path", found.root),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=plugin_log.write_fd,
                stderr=plugin_log.write_fd,
                pass_fds=[theirs.fileno()],
                env=_environment(manifest),
                start_new_session=True,  # A terminal's Ctrl-C is the agent's; and its helpers die with it.
            )
        except OSError as error:
            await channel.close()
            await plugin_log.close()
            message = f"plugin {found.entry_point}: its process cannot be started: {error.strerror}"
            raise PluginError(PLUGIN_CRASHED, message) from error
        finally:
            theirs.close()
            plugin_log.close_write_end()
        running = cls(process, channel, plugin_log)
        channel.on_closed(lambda: ended(running))
        return running

    async def obituary(self, wait_seconds: float) -> str:
        """Return how a process that closed its end did end, and the last thing it said."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                await self.process.wait()
                await self.log.ended()
        code = self.process.returncode
        if code is None:
            how = "closed its connection"
        elif code < 0:
            how = f"was ended by {_signal_name(-code)}"
        else:
            how = f"exited with status {code}"
        return f"{how}; it last said: {self.log.last_line}" if self.log.last_line else how

    async def end(self, stop_seconds: float, *, kill: bool) -> None:
        """Close the connection, at which the process ends; kill it, helpers and all, when it does not."""
        await self.channel.close()
        if not kill:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(stop_seconds):
                    await self.process.wait()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await self.log.close()


def _environment(manifest: Manifest) -> Mapping[str, str]:
    env = {name: os.environ[name] for name in (*_PASSED_ON, *manifest.reads_env) if name in os.environ}
    if manifest.library_paths:
        inherited = env.get("LD_LIBRARY_PATH", "")
        env["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [*manifest.library_paths, inherited]))
    return env


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
