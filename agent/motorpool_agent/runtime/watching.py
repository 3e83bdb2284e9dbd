"""Following one run: ready or not in time, well for a while, no longer answering or computing, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from motorpool_agent.reconcile.handle import LaunchRecord
from motorpool_agent.runtime.context import Timings
from motorpool_agent.runtime.executor import Exit
from motorpool_agent.runtime.failures import now
from motorpool_agent.runtime.launching import PORT_NAME
from motorpool_agent.runtime.ports import probe_address
from motorpool_agent.runtime.probe import Readiness, ready, serves

_UNHEALTHY_AFTER = 3
_NOT_COMPUTING_AFTER = 3
_ASK_AGAIN_SECONDS = 5.0


class Watcher(Protocol):
    """What is told of a run."""

    async def became_ready(self) -> None:
        """It answered its probe for the first time."""
        ...

    async def ran_well(self) -> None:
        """It ran without a fault for long enough to forget its restarts."""
        ...

    def health(self, message: str) -> None:
        """It stopped answering, or (empty) answers again. Nothing is done about it: a busy engine may not answer."""
        ...


@dataclass(frozen=True, slots=True)
class NotReady:
    """It did not become ready in time; it still runs. ``missing`` is what it said last instead."""

    seconds: float
    missing: str = ""


@dataclass(frozen=True, slots=True)
class NotComputing:
    """It answers and lives, and does not compute any more."""

    why: str


Asked = Callable[[], Awaitable[Readiness]]
"""Asks an engine whether it is well, or to compute."""


async def watch(
    record: LaunchRecord,
    ended: Awaitable[Exit],
    watcher: Watcher,
    timings: Timings,
    *,
    was_ready: bool,
    seconds_since_start: float,
    api_key: str = "",
    infer: Asked | None = None,
) -> Exit | NotReady | NotComputing:
    """Follow a run to its end, to the end of its time to start, or until it does not compute any more."""
    end = asyncio.ensure_future(ended)
    address, port = probe_address(record.listen_address), record.ports[PORT_NAME]

    async def is_well() -> Readiness:
        if not record.serves:
            return Readiness(True)
        return await ready(address, port, record.probe_path, record.probe_timeout_seconds)

    async def is_ready() -> Readiness:
        served = await serves(address, port, record, api_key) if record.serves else Readiness(True)
        return await infer() if served.ready and infer is not None else served

    try:
        if not was_ready:
            last = await _until_ready(end, is_ready, record, seconds_since_start)
            if not last.ready:
                return end.result() if end.done() else NotReady(record.start_timeout_seconds, last.missing)
            await watcher.became_ready()
        return await _while_running(end, is_well, watcher, timings, infer)
    finally:
        end.cancel()
        await asyncio.gather(end, return_exceptions=True)


async def _until_ready(
    end: asyncio.Future[Exit],
    is_ready: Callable[[], Awaitable[Readiness]],
    record: LaunchRecord,
    seconds_since_start: float,
) -> Readiness:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + record.start_timeout_seconds - seconds_since_start
    last = Readiness(False)
    while not end.done():
        last = await _answered(end, is_ready)
        if last.ready or loop.time() >= deadline:
            break
        await asyncio.wait({end}, timeout=min(record.probe_period_seconds, max(0.0, deadline - loop.time())))
    return last


async def _answered(end: asyncio.Future[Exit], question: Callable[[], Awaitable[Readiness]]) -> Readiness:
    """Ask, but not on beyond the end: what answers on the port of a dead engine is somebody else."""
    answer = asyncio.ensure_future(question())
    either: set[asyncio.Future[Any]] = {end, answer}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() and not end.done() else Readiness(False)
    finally:
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)


async def _while_running(
    end: asyncio.Future[Exit],
    is_well: Asked,
    watcher: Watcher,
    timings: Timings,
    infer: Asked | None,
) -> Exit | NotComputing:
    computing = asyncio.ensure_future(_computes(infer, timings.inference_period_seconds))
    both: set[asyncio.Future[Any]] = {end, computing}
    health = asyncio.ensure_future(_while_healthy(end, is_well, watcher, timings))
    try:
        await asyncio.wait({*both, health}, return_when=asyncio.FIRST_COMPLETED)
        if end.done() or not computing.done():
            return await health
        return computing.result()
    finally:
        for task in (computing, health):
            task.cancel()
        await asyncio.gather(computing, health, return_exceptions=True)


async def _computes(infer: Asked | None, period_seconds: float | None) -> NotComputing:
    """Ask again and again; return once it failed so often in a row that it is not merely busy."""
    failed = 0
    while infer is not None and period_seconds is not None:
        await asyncio.sleep(period_seconds if not failed else min(period_seconds, _ASK_AGAIN_SECONDS))
        answer = await infer()
        failed = 0 if answer.ready else failed + 1
        if failed == _NOT_COMPUTING_AFTER:
            return NotComputing(answer.missing)
    return await asyncio.Future()


async def _while_healthy(end: asyncio.Future[Exit], is_well: Asked, watcher: Watcher, timings: Timings) -> Exit:
    loop = asyncio.get_running_loop()
    well_at: float | None = loop.time() + timings.well_seconds
    probe_at = loop.time() + timings.health_period_seconds
    failures, silent_since = 0, ""
    while True:
        wake_at = probe_at if well_at is None else min(probe_at, well_at)
        await asyncio.wait({end}, timeout=max(0.0, wake_at - loop.time()))
        if end.done():
            return end.result()
        if well_at is not None and loop.time() >= well_at:
            well_at = None
            await watcher.ran_well()
        if loop.time() < probe_at:
            continue
        answer = await _answered(end, is_well)
        probe_at = loop.time() + timings.health_period_seconds
        if answer.ready:
            if failures >= _UNHEALTHY_AFTER:
                watcher.health("")
            failures = 0
            continue
        failures += 1
        if failures == 1:
            silent_since = now().isoformat(timespec="seconds")
        if failures == _UNHEALTHY_AFTER:
            watcher.health(f"does not answer its health check since {silent_since}; it is left running")
