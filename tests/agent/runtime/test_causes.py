"""What the agent recognises of any engine's end."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.runtime import failures
from motorpool_agent.runtime.causes import COMMON, cause
from motorpool_agent.runtime.executor import Exit
from motorpool_sdk.backend import MemoryModel, Option, Profile, Version
from motorpool_sdk.failures import KnownFailure, failure_faults
from tests.failure_logs import FailureLog, failure_logs

LOGS = {log.name: log for log in failure_logs(Path(__file__).parent / "recordings")}
PROFILE = Profile(backend="acme", versions=(Version(version="1"),), memory_model=MemoryModel.FIXED, rules="fixed")
OWN = KnownFailure(
    reason="NO_LICENCE", patterns=("licence of {owner} ended",), message="{owner} may not", hint="renew it"
)


@pytest.mark.parametrize("log", LOGS.values(), ids=LOGS)
def test_recorded_failures_are_recognised(log: FailureLog) -> None:
    """
    Each recorded log gives the reason that it is on file for, whatever the backend.
    """
    seen = cause(None, log.lines)

    assert seen is not None
    assert log.reason == seen.reason


def test_common_rows_are_well_formed() -> None:
    """
    The agent's own rows keep the rules of plugins' rows.
    """
    assert [] == list(failure_faults(COMMON))


def test_a_missing_library_is_named() -> None:
    """
    The sentence says which library it is, and what to do.
    """
    seen = cause(None, LOGS["missing_library"].lines)

    assert seen is not None
    assert "library libselinuy.so.1" in seen.message
    assert "install it" in seen.message


def test_a_backends_own_rows_come_first() -> None:
    """
    What a plugin's profile knows is told, though the log also shows what engines have in common.
    """
    lines = ("CUDA out of memory", "the licence of Acme ended")
    profile = replace(PROFILE, failures=(OWN,))

    assert ("NO_LICENCE", "Acme may not; renew it", lines[1]) == cause(profile, lines)


def test_device_memory_is_told_with_the_backends_options() -> None:
    """
    A backend without rows of its own has its options named by what they mean to scheduling.
    """
    options = (Option(name="slots", meaning="parallel"), Option(name="window", meaning="context_length"))
    profile = replace(PROFILE, options=options, fraction_option="share")
    seen = cause(profile, ["RuntimeError: HIP out of memory. Tried to allocate 2.00 MiB"])

    assert seen is not None
    assert seen.message.startswith(
        "the engine needed more memory than its device has; lower --share, shorten the context with --window, serve "
        "fewer requests at once with --slots, or "
    )


def test_an_end_is_told_by_what_the_log_shows() -> None:
    """
    A failure has the recognised reason and sentence, the line that shows it, and the status that it ended with.
    """
    failure = failures.ended(Exit(exit_code=1), "instances/a1", LOGS["full_disk"].lines)

    assert ("DISK_FULL", 1) == (failure.reason, failure.exit_code)
    assert LOGS["full_disk"].lines[0] == failure.evidence
    assert "`df -h` on the node" in failure.message


def test_what_the_kernel_saw_wins_over_the_log() -> None:
    """
    An engine that the kernel killed for memory is told so, with its limit, whatever it logged.
    """
    exit_ = Exit(signal=signal.SIGKILL, out_of_memory=True)
    failure = failures.ended(exit_, "instances/a1", ["CUDA out of memory"], None, 3 * 2**29)

    assert ("OUT_OF_MEMORY", "") == (failure.reason, failure.evidence)
    assert "at its limit of 1,536 MiB" in failure.message
    assert "--memory" in failure.message


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGILL, "CPU_UNSUPPORTED"), (signal.SIGBUS, "BUS_ERROR"), (signal.SIGTERM, "EXITED")]
)
def test_signals_that_say_why(number: signal.Signals, reason: str) -> None:
    """
    Some signals have one cause; of the others it is told that they ended it.
    """
    assert reason == failures.ended(Exit(signal=number), "instances/a1", ["nothing to see"]).reason


def test_a_log_that_shows_nothing_leaves_the_status() -> None:
    """
    An end that nobody recognises is told by its status, and where the log is.
    """
    failure = failures.ended(Exit(exit_code=3), "motorpool logs a1 --attempt 4", ["line 1", ""])

    assert ("EXITED", "") == (failure.reason, failure.evidence)
    assert failure.message == "the engine exited with status 3; `motorpool logs a1 --attempt 4` shows why"


def test_an_engine_that_hangs_is_told_by_its_log_too() -> None:
    """
    One that is not ready in time keeps that as its reason, and the sentence says what the log shows.
    """
    failure = failures.not_ready(5, "instances/a1", LOGS["device_memory"].lines, None, "")

    assert failure.reason == "START_TIMEOUT"
    assert "not ready within 5 s: the engine needed more memory than its device has" in failure.message
