"""One event loop a process and one clock for all: nothing waits for real, and a killed process is never run again."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

T = TypeVar("T")
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
Connect = Callable[[int], bool]
"""Whether somebody listens on a port of this process's machine."""


class Clock:
    """The time, which passes only where a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


class ProcessLoop(asyncio.BaseEventLoop):
    """Runs one process's tasks, one round at a time; threads' work is done at once, and seen a round later."""

    def __init__(self, clock: Clock, connect: Connect = lambda _: False) -> None:
        super().__init__()
        self._time = clock
        self._connect = connect
        self._selector = self
        self._ready: deque[asyncio.Handle]
        self._scheduled: list[asyncio.TimerHandle]
        self.faults: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def time(self) -> float:
        return self._time.seconds

    def step(self) -> None:
        """Run what is ready now, and nothing that it makes ready."""
        for thread in threading.enumerate():
            if thread.name == "read-model":  # its answer is to come in the same round every time
                thread.join()
        self.call_soon(self.stop)
        self.run_forever()

    @property
    def idle(self) -> bool:
        """Whether only the passing of time goes on here."""
        due = self.next_time
        return not self._ready and (due is None or due > self.time())

    @property
    def next_time(self) -> float | None:
        """When something is due next."""
        return min((timer.when() for timer in self._scheduled if not timer.cancelled()), default=None)

    # What BaseEventLoop asks of its selector, and of those below it.

    def select(self, _timeout: float | None) -> tuple[()]:
        return ()

    def _process_events(self, _events: object) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def run_in_executor(self, _executor: object, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # done at once
        done: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001  # handed to who waits
            self.call_soon(_fail, done, error)
        else:
            self.call_soon(_answer, done, result)
        return done

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        if not self._connect(port):
            raise ConnectionRefusedError(f"nobody listens on {host}:{port}")
        protocol = protocol_factory()
        transport = _Accepted(self, protocol)
        protocol.connection_made(transport)
        return transport, protocol


class _Accepted(asyncio.Transport):
    """A connection over which nothing is said."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._closing = False

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def write(self, data: object) -> None:
        pass


class Mailbox(Generic[T]):
    """What arrived at a process and was not read; any process may put something in."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._waiting: asyncio.Future[None] | None = None

    def put(self, item: T) -> None:
        self._items.append(item)
        self.wake()

    def wake(self) -> None:
        """Have the reader look again."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.get_loop().call_soon(_answer, waiting, None)

    def __len__(self) -> int:
        return len(self._items)

    def take(self) -> T:
        return self._items.popleft()

    async def changed(self) -> None:
        """Wait until something was put in, or somebody woke the reader."""
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting


def end(loop: ProcessLoop) -> None:
    """Have a process's tasks unwind after all was said and done; what they do then nobody looks at."""
    for _ in range(200):
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            break
        for task in tasks:
            task.cancel()
        loop.step()
    loop.close()


def run(loop: ProcessLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run one piece of work that waits for nobody else."""
    task = loop.create_task(work)
    while not task.done():
        assert not loop.idle, "it waits for somebody else"
        loop.step()
    return task.result()


def _answer(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
