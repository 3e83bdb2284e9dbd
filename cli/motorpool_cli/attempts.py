"""The attempts to run an instance, a row each: when, how it ended, and why."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.output import print_table, say

_COLUMNS = ("ATTEMPT", "BEGAN", "ENDED", "HOW", "EXIT", "CAUSE")


def print_attempts(instance: v1.Instance) -> None:
    """Print the attempts that are kept, and the present one; nothing before the first one failed."""
    rows = list(_rows(instance))
    if rows:
        say()
        say("Attempts", style="bold")
        print_table(_COLUMNS, rows, empty="")


def _rows(instance: v1.Instance) -> Iterator[tuple[str, ...]]:
    yield from _of(instance, "")
    for member in instance.members:
        yield from _of(member, f" (rank {member.rank})")


def _of(runs: v1.Instance | v1.InstanceMember, member: str) -> Iterator[tuple[str, ...]]:
    before = 0
    for attempt in runs.attempts:
        if before and attempt.number > before + 1:
            yield (f"… {attempt.number - before - 1} more", *("",) * (len(_COLUMNS) - 1))
        before = attempt.number
        failure = attempt.failure
        yield (
            f"{attempt.number}{member}",
            text.clock(attempt.begin_time),
            text.clock(failure.time),
            f"{failure.reason}{' after it was ready' if attempt.ready else ''}",
            _exit(failure) if attempt.executed else "not executed",
            failure.message,
        )
    if before and runs.attempt > before:
        state = text.word(v1.InstanceState, runs.state)
        yield (f"{runs.attempt}{member}", text.clock(runs.start_time), text.UNKNOWN, state, text.UNKNOWN, "")


def _exit(failure: v1.Failure) -> str:
    """Return how a process ended: its status or signal, unknown where nobody saw it."""
    memory = ", out of memory" if failure.out_of_memory else ""
    if failure.HasField("signal"):
        known = failure.signal in set(signal.Signals)
        return (signal.Signals(failure.signal).name if known else f"signal {failure.signal}") + memory
    return f"status {failure.exit_code}{memory}" if failure.HasField("exit_code") else text.UNKNOWN
