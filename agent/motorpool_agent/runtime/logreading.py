"""Reading instances' logs: the end of one, all of it since a time, or on and on; without holding more than a chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from motorpool_agent.reconcile.assignment import LogSubscription
from motorpool_agent.runtime import logs
from motorpool_agent.runtime.errors import RuntimeFault
from motorpool_agent.runtime.logplace import Line, Place, Reader
from motorpool_agent.runtime.secrets import Secrets

_LOOK_SECONDS = 0.1
_LOST = "-- lines may be missing here: the log was rotated away before it was read --"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a reader asks for: of which attempt how many of the last lines (negative: all), since when, going on or not.

    ``attempt`` is a run's number, 0 the last one, below it so many before that. A ``position`` of a former batch goes
    before all of these.
    """

    tail_lines: int = -1
    follow: bool = False
    attempt: int = 0
    since: datetime | None = None
    timestamps: bool = False
    position: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some lines, and where they end: whoever asks with that ``position`` gets what comes after them."""

    lines: list[str]
    position: str = ""


def wanted(subscription: LogSubscription, now: datetime) -> Wanted:
    """Return what a subscription asks for, its length of time counted back from ``now``."""
    since = subscription.since_time
    if subscription.since_seconds is not None:
        since = now - timedelta(seconds=subscription.since_seconds)
    return Wanted(
        tail_lines=subscription.tail_lines,
        follow=subscription.follow,
        attempt=subscription.attempt,
        since=since,
        timestamps=subscription.timestamps,
        position=subscription.position,
    )


def tail(directory: Path, run: int, count: int, secrets: Secrets | None = None) -> list[str]:
    """Return the last lines of a run."""
    found: list[Line] = []
    with Reader(directory, run, count) as reader:
        while batch := reader.read():
            found += batch
        found += reader.rest()
    return _shown(found[-count:], secrets or Secrets(), timestamps=False)


async def lines(
    directory: Path,
    wanted: Wanted,
    *,
    secrets: Callable[[], Secrets] = Secrets,
    ended: Callable[[], bool] = lambda: False,
) -> AsyncGenerator[Batch]:
    """Yield batches of lines, secrets replaced; following goes on over rotation and restarts, until it ``ended()``.

    An attempt that is over is read to its end, whether it is to be followed or not.
    """
    kept = await asyncio.to_thread(logs.runs, directory)
    run = _run(kept, wanted)
    follow = wanted.follow and (wanted.attempt == 0 or run == kept[-1])
    place = Place.of(wanted.position)
    since = b"" if wanted.since is None else wanted.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()
    # Of one that writes on, the last lines are those that were the last when it was asked.
    most = None if follow or wanted.tail_lines < 0 or place is not None else wanted.tail_lines
    with Reader(directory, run, wanted.tail_lines, follow=follow, since=since, place=place) as reader:
        while most is None or most > 0:
            # Asked before reading: what is written before the end is still delivered.
            last = not follow or ended()
            batch = await asyncio.to_thread(reader.read)
            if reader.lost:
                reader.lost = False
                yield Batch(lines=[_LOST])
            if batch:
                batch = batch if most is None else batch[:most]
                most = None if most is None else most - len(batch)
                yield Batch(lines=_shown(batch, secrets(), timestamps=wanted.timestamps), position=str(reader.place))
            elif last:
                break
            else:
                await asyncio.sleep(_LOOK_SECONDS)
        if most != 0 and (rest := reader.rest()):
            yield Batch(lines=_shown(rest, secrets(), timestamps=wanted.timestamps))


def _run(kept: Sequence[int], wanted: Wanted) -> int:
    place = Place.of(wanted.position)
    if place is not None:
        # Gone with its log: what there is of later ones comes next.
        return next((run for run in kept if run >= place.run), place.run)
    if not kept and wanted.attempt == 0:
        return 0
    run = logs.attempt(kept, wanted.attempt)
    if run is None:
        there = ", ".join(map(str, kept)) or "none yet"
        which = f"attempt {wanted.attempt}" if wanted.attempt > 0 else f"an attempt {-wanted.attempt} before the last"
        raise RuntimeFault(
            "ATTEMPT_UNKNOWN",
            f"no log is kept of {which}; there are those of: {there} (attempts that never came to execute anything "
            "have none)",
        )
    return run


def _shown(batch: Sequence[Line], secrets: Secrets, *, timestamps: bool) -> list[str]:
    texts = [line.decode("utf-8", "replace") for _, line in batch]
    if timestamps:
        texts = [
            f"{time.decode('ascii')} {text}" if time else text for (time, _), text in zip(batch, texts, strict=True)
        ]
    return secrets.masked(texts)
