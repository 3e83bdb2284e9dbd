"""What is kept of a failure: reason, sentence, exit status and the end of the log."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from motorpool_agent.reconcile.observation import Failure
from motorpool_agent.runtime import logs
from motorpool_agent.runtime.executor import Exit

TAIL_LINES = 200
_LINE_CHARACTERS = 2000


def now() -> datetime:
    """Return the wall clock's time, in UTC."""
    return datetime.now(UTC)


def fault(reason: str, message: str, log_tail: Sequence[str] = ()) -> Failure:
    """Return a failure that is not an exit."""
    return Failure(time=now(), reason=reason, message=message, log_tail=tuple(log_tail))


def ended(exit_: Exit, instance: str, log_tail: Sequence[str]) -> Failure:
    """Return the failure that an engine's end is."""
    return Failure(
        time=now(),
        reason="EXEC_FAILED" if exit_.error else "OUT_OF_MEMORY" if exit_.out_of_memory else "EXITED",
        message=_sentence(exit_, instance),
        exit_code=exit_.exit_code,
        signal=exit_.signal,
        out_of_memory=exit_.out_of_memory,
        log_tail=tuple(log_tail),
    )


def log_tail(directory: Path, run: int) -> tuple[str, ...]:
    """Return the last lines of a run, each cut to a bearable length."""
    return tuple(line[:_LINE_CHARACTERS] for line in logs.tail(directory, run, TAIL_LINES))


def _sentence(exit_: Exit, instance: str) -> str:
    if exit_.error:
        return f"the engine could not be executed: {exit_.error}; install it on this node, or correct the command"
    if exit_.out_of_memory:
        return (
            "the kernel killed the engine for lack of host memory; deploy with less context or fewer parallel "
            "requests, or give the node more memory"
        )
    advice = f"`motorpool logs {instance} --previous` shows why"
    if exit_.signal is not None:
        return f"the engine was ended by {_signal_name(exit_.signal)}; {advice}"
    if exit_.exit_code is not None:
        return f"the engine exited with status {exit_.exit_code}; {advice}"
    return f"the engine ended while nobody watched, its exit status is unknown; {advice}"


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
