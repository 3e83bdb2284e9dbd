"""What is kept of a failure: reason, sentence, exit status, the line that shows it and the end of the log."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import UTC, datetime

from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.reconcile.observation import Failure
from motorpool_agent.runtime.causes import cause
from motorpool_agent.runtime.executor import Exit
from motorpool_sdk.backend import Profile

TAIL_LINES = 200
ATTEMPT_LINES = 20
_LINE_CHARACTERS = 2000


def now() -> datetime:
    """Return the wall clock's time, in UTC."""
    return datetime.now(UTC)


def fault(reason: str, message: str, log_tail: Sequence[str] = ()) -> Failure:
    """Return a failure that is not an exit."""
    return Failure(time=now(), reason=reason, message=message, log_tail=tuple(log_tail))


def ended(
    exit_: Exit,
    log: str,
    log_tail: Sequence[str],
    profile: Profile | None = None,
    memory_limit_bytes: int | None = None,
) -> Failure:
    """Return the failure that an engine's end is: what the kernel saw, else what the log shows, else its status.

    ``log`` is the command that shows the whole log.
    """
    seen = None if exit_.error or exit_.out_of_memory else cause(profile, log_tail)
    signalled = None if exit_.signal is None else _SIGNALS.get(exit_.signal)
    if exit_.error:
        reason, message = "EXEC_FAILED", _not_executed(exit_.error)
    elif exit_.out_of_memory:
        reason, message = "OUT_OF_MEMORY", _out_of_memory(memory_limit_bytes)
    elif seen is not None:
        reason, message = seen.reason, seen.message
    elif signalled is not None:
        reason, message = signalled
    else:
        reason, message = "EXITED", _bare(exit_, log)
    return Failure(
        time=now(),
        reason=reason,
        message=message,
        exit_code=exit_.exit_code,
        signal=exit_.signal,
        out_of_memory=exit_.out_of_memory,
        evidence="" if seen is None else seen.line,
        log_tail=tuple(log_tail),
    )


def not_ready(seconds: float, log: str, log_tail: Sequence[str], profile: Profile | None, missing: str) -> Failure:
    """Return the failure of an engine that did not become ready in time; ``missing`` is what it did not say."""
    seen = cause(profile, log_tail)
    why = f": {seen.message}" if seen is not None else f" ({missing})" if missing else ""
    return Failure(
        time=now(),
        reason="START_TIMEOUT",
        message=f"the engine was not ready within {seconds:g} s{why}; `{log}` shows how far it came",
        evidence="" if seen is None else seen.line,
        log_tail=tuple(log_tail),
    )


def not_computing(why: str, log: str, log_tail: Sequence[str]) -> Failure:
    """Return the failure of an engine that lives, and does not answer what only one that computes can."""
    return fault(
        "INFERENCE_FAILED",
        f"the engine lives and does not compute any more: {why}; `{log}` shows what it did last",
        log_tail,
    )


def log_command(assignment: Assignment, run: int) -> str:
    """Return the command that shows the log of one attempt."""
    member = "" if assignment.gang is None else f" --rank {assignment.gang.rank}"
    return f"motorpool logs {assignment.instance}{member} --attempt {run}"


def cut(lines: Sequence[str]) -> tuple[str, ...]:
    """Return lines, each cut to a bearable length."""
    return tuple(line[:_LINE_CHARACTERS] for line in lines)


_SIGNALS: dict[int, tuple[str, str]] = {
    signal.SIGILL: (
        "CPU_UNSUPPORTED",
        (
            "the engine used an instruction that this node's processor lacks; deploy another version or image of the "
            "backend, or to another node with --node-label"
        ),
    ),
    signal.SIGBUS: (
        "BUS_ERROR",
        (
            "the engine read memory behind which there was nothing: a file that was cut while it was mapped, or a full "
            "/dev/shm; see that the model's files are whole, and to the room there (`df -h /dev/shm` on the node)"
        ),
    ),
}


def _not_executed(error: str) -> str:
    return f"the engine could not be executed: {error}; install it on this node, or correct the command"


def _out_of_memory(limit_bytes: int | None) -> str:
    if limit_bytes is not None:
        return (
            f"the kernel killed the engine at its limit of {limit_bytes / 2**20:,.0f} MiB of host memory; claim more "
            "with --memory, or deploy with less context or fewer parallel requests"
        )
    return (
        "the kernel killed the engine for lack of host memory; deploy with less context or fewer parallel "
        "requests, or give the node more memory"
    )


def _bare(exit_: Exit, log: str) -> str:
    advice = f"`{log}` shows why"
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
