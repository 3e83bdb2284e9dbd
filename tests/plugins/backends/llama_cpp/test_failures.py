"""What llama.cpp's logs show of why it failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_agent.runtime.causes import cause
from motorpool_llama_cpp.plugin import LlamaCpp
from tests.failure_logs import FailureLog, failure_logs

LOGS = {log.name: log for log in failure_logs(Path(__file__).parent / "recordings")}
OPTIONS = {f"--{option.name}" for option in LlamaCpp().profile().options}


@pytest.mark.parametrize("log", LOGS.values(), ids=LOGS)
def test_recorded_failures_are_recognised(log: FailureLog) -> None:
    """
    Each recorded log gives the reason that it is on file for.
    """
    seen = cause(LlamaCpp().profile(), log.lines)

    assert seen is not None
    assert log.reason == seen.reason


def test_device_memory_is_told_with_its_device_and_options() -> None:
    """
    A device that is too small is named, with llama.cpp's own options for what takes less of it.
    """
    seen = cause(LlamaCpp().profile(), LOGS["device_memory"].lines)

    assert seen is not None
    assert seen.message == (
        "the memory of device 0 did not suffice for llama.cpp; offload fewer layers with --n-gpu-layers, shorten the "
        "context with --ctx-size, or serve fewer requests at once with --parallel"
    )


def test_hints_name_options_that_there_are() -> None:
    """
    Every option of llama.cpp that a hint names is one that a user may set.
    """
    words = {word.strip(",;") for known in LlamaCpp().profile().failures for word in known.hint.split()}
    named = {word for word in words if word.startswith("--")} - {"--memory"}

    assert named
    assert named <= OPTIONS
