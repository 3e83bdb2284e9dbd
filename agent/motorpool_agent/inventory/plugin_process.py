"""One plugin's process: started when called, killed at a missed deadline, restarted with patience, given up at last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TypeVar

from motorpool_agent import metrics
from motorpool_agent.inventory.plugin_channel import ChannelClosedError
from motorpool_agent.inventory.plugin_running import Running
from motorpool_agent.inventory.plugin_status import PluginState
from motorpool_sdk import Found, Manifest, PluginError, WireError, wire
from motorpool_sdk.errors import PLUGIN_CRASHED, PLUGIN_FAILED, PLUGIN_QUARANTINED, PLUGIN_TIMEOUT

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a plugin is waited for, and how often it may fail in a row."""

    start_seconds: float = 15.0
    inventory_seconds: float = 15.0
    call_seconds: float = 5.0
    sample_seconds: float = 2.0
    refresh_seconds: float = 60.0
    first_backoff_seconds: float = 1.0
    most_backoff_seconds: float = 30.0
    failures_in_a_row: int = 5
    idle_seconds: float = 60.0
    stop_seconds: float = 2.0
    # Of the time, for measurements of one vendor, and as much again for its inventory; what that allows at once.
    share: float = 0.05
    in_hand_seconds: float = 1.0
    # A vendor's library that leaks is started anew before it takes the machine, or has no descriptor left.
    most_resident_bytes: int = 1 << 30
    most_open_files: int = 512


class PluginProcess:
    """Calls a plugin in a process of its own. ``stays`` keeps the process; otherwise it is retired when idle."""

    def __init__(
        self,
        found: Found,
        manifest: Manifest,
        patience: Patience,
        *,
        stays: bool,
        changed: Callable[[], None],
    ) -> None:
        self.patience = patience
        self.failures = 0
        # How long the last answer took, without waiting for the process to start.
        self.answer_seconds = 0.0
        self.last_error = ""
        self.state = PluginState.FOUND
        self._found = found
        self._manifest = manifest
        self._stays = stays
        self._changed = changed
        # By method: a plugin that dies at every launch is broken, however well it tells its profile in between.
        self._failures_in_a_row: Counter[str] = Counter()
        self._unwell = asyncio.Event()
        self._not_before = 0.0
        self._turn = asyncio.Lock()
        self._running: Running | None = None
        self._retirement: asyncio.TimerHandle | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._running.pid if self._running is not None else None

    @property
    def backoff_seconds(self) -> float:
        """How long it will not be started again."""
        return max(0.0, self._not_before - asyncio.get_running_loop().time())

    async def call(self, method: str, body: object, kind: type[T], timeout_seconds: float) -> T:
        """Return the plugin's answer as a ``kind``, or raise PluginError. Calls are carried out one by one."""
        try:
            async with asyncio.timeout(timeout_seconds + self.patience.start_seconds):
                await self._turn.acquire()
        except TimeoutError:
            message = f"plugin {self._name} is busy; {method} did not get its turn; try again"
            raise PluginError(PLUGIN_TIMEOUT, message) from None
        result = "cancelled"
        try:
            answer = await self._called(method, body, kind, timeout_seconds)
            result = "ok"
        except PluginError as error:
            result = error.reason.removeprefix("PLUGIN_").lower()
            raise
        finally:
            self._turn.release()
            metrics.PLUGIN_CALLS.add(self._name, result)
        return answer

    async def close(self) -> None:
        """Stop the process for good."""
        self._closed = True
        await self.retire()

    async def renew(self, remark: str) -> None:
        """Stop the process between two calls, for ``remark``; the next call starts it anew."""
        async with self._turn:
            self.failures += 1
            self._retire()
        # One that does not answer either has said something worse.
        if self.state is PluginState.READY:
            self.approve(remark)

    async def retire(self) -> None:
        """Stop the process until the next call."""
        self._retire()
        while self._endings:
            await asyncio.wait(self._endings)

    async def wait_unwell(self) -> None:
        """Wait until the last answer was none, or of no use."""
        await self._unwell.wait()

    def degrade(self, message: str) -> None:
        """Record an answer that is of no use, and cost no process."""
        if self.state is not PluginState.QUARANTINED:
            self._become(PluginState.DEGRADED, message)

    def approve(self, remark: str = "") -> None:
        """Record an answer that is as it must be, with a remark on parts of it that are not."""
        if self.state is not PluginState.QUARANTINED:
            self._become(PluginState.READY, remark or self.last_error)

    def _become(self, state: PluginState, message: str) -> None:
        if (self.state, self.last_error) == (state, message):
            return
        if state is not PluginState.READY or message != self.last_error:
            log.warning("plugin %s is %s: %s", self._name, state, message)
        self.state, self.last_error = state, message
        if state is PluginState.READY:
            self._unwell.clear()
        else:
            self._unwell.set()
        self._changed()

    async def _called(self, method: str, body: object, kind: type[T], timeout_seconds: float) -> T:
        running = await self._started(timeout_seconds)
        clock = asyncio.get_running_loop().time
        start = clock()
        try:
            content = await self._exchange(running, method, body, timeout_seconds)
        finally:
            self.answer_seconds = clock() - start
            metrics.PLUGIN_CALL_SECONDS.observe(self.answer_seconds, self._name)
            self._retire_when_idle()
        try:
            answer = wire.decode(content, kind)
        except WireError as error:
            message = f"plugin {self._name} answered {method} with something else than it must: {error}"
            self.degrade(message)
            raise PluginError(PLUGIN_FAILED, message) from error
        del self._failures_in_a_row[method]
        return answer

    async def _started(self, timeout_seconds: float) -> Running:
        if self._retirement is not None:
            self._retirement.cancel()
            self._retirement = None
        if self._closed:
            raise PluginError(PLUGIN_CRASHED, f"plugin {self._name} was stopped with its agent")
        if self._running is not None:
            return self._running
        if self.state is PluginState.QUARANTINED:
            raise PluginError(
                PLUGIN_QUARANTINED,
                f"plugin {self._name} failed {self.patience.failures_in_a_row} times in a row and is not asked "
                f"again until the agent restarts; the last error was: {self.last_error}",
            )
        if self.backoff_seconds > timeout_seconds:
            raise PluginError(
                PLUGIN_CRASHED,
                f"plugin {self._name} is started again in {self.backoff_seconds:.0f} s; "
                f"the last error was: {self.last_error}",
            )
        await asyncio.sleep(self.backoff_seconds)
        return await self._start()

    async def _start(self) -> Running:
        spawning = asyncio.get_running_loop().create_task(Running.spawn(self._found, self._manifest, self._ended))
        try:
            running = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            self._see_to(self._discard(spawning))
            raise
        self._running = running
        introduction = wire.Introduction(kind=self._manifest.kind)
        try:
            await self._exchange(running, "introduce", introduction, self.patience.start_seconds)
        except PluginError as error:
            # Its import failed: a process without a plugin is of no use.
            if self._running is running:
                self._lost(running, "introduce", error.message)
            raise
        log.info("plugin process started", extra={"plugin": self._name, "pid": running.pid})
        return running

    async def _exchange(self, running: Running, method: str, body: object, timeout_seconds: float) -> bytes:
        try:
            response = await running.channel.ask(method, body, timeout_seconds)
        except TimeoutError:
            message = f"plugin {self._name} did not answer {_doing(method)} within {timeout_seconds:g} s and was killed"
            self._lost(running, method, message)
            raise PluginError(PLUGIN_TIMEOUT, message) from None
        except ChannelClosedError as error:
            how = await running.obituary(self.patience.stop_seconds)
            message = f"plugin {self._name} failed during {_doing(method)}: its process {str(error) or how}"
            self._lost(running, method, message)
            raise PluginError(PLUGIN_CRASHED, message) from None
        except WireError as error:
            raise PluginError(PLUGIN_FAILED, f"plugin {self._name} cannot be asked {method}: {error}") from error
        if response.error:
            message = f"plugin {self._name} failed during {_doing(method)}: {response.error}"
            raise PluginError(PLUGIN_FAILED, message)
        return bytes(response.result)

    def _ended(self, running: Running) -> None:
        if running is self._running and not self._turn.locked():
            self._lost(running, "idling", f"plugin {self._name} ended by itself while nobody asked it anything")

    def _lost(self, running: Running, method: str, message: str) -> None:
        if running is self._running:
            self._end(running, kill=True)
            self._failed(method, message)

    def _failed(self, method: str, message: str) -> None:
        self.failures += 1
        self._failures_in_a_row[method] += 1
        in_a_row = max(self._failures_in_a_row.values())
        backoff_seconds = min(
            self.patience.most_backoff_seconds,
            self.patience.first_backoff_seconds * 2.0 ** (in_a_row - 1),
        )
        self._not_before = asyncio.get_running_loop().time() + backoff_seconds
        given_up = in_a_row >= self.patience.failures_in_a_row
        self._become(PluginState.QUARANTINED if given_up else PluginState.DEGRADED, message)

    def _retire_when_idle(self) -> None:
        if self._running is not None and not self._stays and not self._closed:
            loop = asyncio.get_running_loop()
            self._retirement = loop.call_later(self.patience.idle_seconds, self._retire)

    def _retire(self) -> None:
        if self._retirement is not None:
            self._retirement.cancel()
            self._retirement = None
        if self._running is not None:
            self._end(self._running, kill=False)

    def _end(self, running: Running, *, kill: bool) -> None:
        self._running = None
        self._see_to(running.end(self.patience.stop_seconds, kill=kill))

    async def _discard(self, spawning: asyncio.Task[Running]) -> None:
        with contextlib.suppress(PluginError):
            await (await spawning).end(self.patience.stop_seconds, kill=True)

    def _see_to(self, ending: Coroutine[None, None, None]) -> None:
        """Carry an ending out beside everything else; ``close`` waits for it."""
        task = asyncio.get_running_loop().create_task(ending)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    @property
    def _name(self) -> str:
        return self._found.entry_point


def _doing(method: str) -> str:
    return "loading" if method == "introduce" else method
