"""What vLLM's logs show of why it failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_agent.runtime.causes import cause
from motorpool_vllm.plugin import Vllm
from tests.failure_logs import FailureLog, failure_logs

LOGS = {log.name: log for log in failure_logs(Path(__file__).parent / "recordings")}
OPTIONS = {f"--{option.name}" for option in Vllm().profile().options}


@pytest.mark.parametrize("log", LOGS.values(), ids=LOGS)
def test_recorded_failures_are_recognised(log: FailureLog) -> None:
    """
    Each recorded log gives the reason that it is on file for.
    """
    seen = cause(Vllm().profile(), log.lines)

    assert seen is not None
    assert log.reason == seen.reason


def test_a_context_that_does_not_fit_is_told_with_one_that_does() -> None:
    """
    The sentence says which context was wished, and which one vLLM found to fit.
    """
    seen = cause(Vllm().profile(), LOGS["context"].lines)

    assert seen is not None
    assert seen.message == (
        "a context of 262144 tokens does not fit into the device memory that is left for the key/value cache, 34736 "
        "would; set --max-model-len 34736 or less, raise --gpu-memory-utilization, or deploy on more devices"
    )


def test_device_memory_is_told_with_options_that_take_less() -> None:
    """
    Out of memory says to lower the fraction, shorten the context, serve fewer at once, or do without graphs.
    """
    seen = cause(Vllm().profile(), LOGS["device_memory"].lines)

    assert seen is not None
    for option in ("--gpu-memory-utilization", "--max-model-len", "--max-num-seqs", "--enforce-eager"):
        assert option in seen.message


def test_hints_name_options_that_there_are() -> None:
    """
    Every option of vLLM that a hint names is one that a user may set.
    """
    words = {word.strip(",;`") for known in Vllm().profile().failures for word in known.hint.split()}
    named = {word for word in words if word.startswith("--")} - {"--device", "--help=all"}

    assert named
    assert named <= OPTIONS
