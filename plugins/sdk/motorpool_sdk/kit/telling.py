"""A plugin for pytest that tells ``verification`` how each scenario ends, a line of JSON at a descriptor."""

from __future__ import annotations

import os

import msgspec
import pytest

from motorpool_sdk.kit.verification import TELLS, Outcome

# So that what a scenario saw stands in its row, as it would in the author's own tests.
pytest.register_assert_rewrite("motorpool_sdk.testing.scenarios")


def pytest_runtest_logstart(nodeid: str) -> None:
    """Say that one begins: should the process end, it was at this."""
    _say(Outcome(check=_called(nodeid)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say how one ended; of what comes before and after it only what goes wrong."""
    if report.when == "call" or not report.passed:
        _say(Outcome(check=_called(report.nodeid), passed=not report.failed, detail=_words(report)))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Say why there are no scenarios."""
    if report.failed:
        _say(Outcome(check="scenarios", passed=False, detail=_words(report)))


def pytest_sessionfinish() -> None:
    """Say that this was all."""
    _say(Outcome(check="done"))


def _called(nodeid: str) -> str:
    name, _, parameters = nodeid.rpartition("::")[2].removeprefix("test_").partition("[")
    return f"scenario: {name.replace('_', ' ')} {parameters.removesuffix(']')}".strip()


def _words(report: pytest.TestReport | pytest.CollectReport) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2]
    if not report.failed:
        return ""
    crash = getattr(report.longrepr, "reprcrash", None)
    said = crash.message if crash is not None else report.longreprtext.strip().rpartition("\n")[2]
    return " ".join(said.split())[:300]


def _say(outcome: Outcome) -> None:
    os.write(int(os.environ[TELLS]), msgspec.json.encode(outcome) + b"\n")
