"""What a check found, and how it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from motorpool_agent.main.output import shown


class Verdict(StrEnum):
    """How it stands; only a problem keeps the agent, or a device, from working."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report; ``remedy`` is what to do next, empty where there is nothing to do."""

    check: str
    verdict: Verdict
    summary: str
    remedy: str = ""


def ok(check: str, summary: str) -> Finding:
    """Return that all is well."""
    return Finding(check=check, verdict=Verdict.OK, summary=summary)


def warning(check: str, summary: str, remedy: str) -> Finding:
    """Return what may come to matter."""
    return Finding(check=check, verdict=Verdict.WARNING, summary=summary, remedy=remedy)


def problem(check: str, summary: str, remedy: str) -> Finding:
    """Return what does not work."""
    return Finding(check=check, verdict=Verdict.PROBLEM, summary=summary, remedy=remedy)


def as_text(findings: Sequence[Finding]) -> str:
    """Return a line each, the remedy below it, and the sum."""
    marks = {Verdict.OK: "ok", Verdict.WARNING: "warn", Verdict.PROBLEM: "FAIL"}
    width = max((len(finding.check) for finding in findings), default=0)
    lines = []
    for finding in findings:
        check = finding.check.ljust(width)
        lines.append(f"{marks[finding.verdict]:<4}  {check}  {shown(finding.summary)}")
        if finding.remedy:
            lines.append(f"{'':<{6 + width}}  -> {shown(finding.remedy)}")
    counts = Counter(finding.verdict for finding in findings)
    lines.append(
        f"{len(findings)} checks: {counts[Verdict.OK]} ok, {counts[Verdict.WARNING]} to look at, "
        f"{counts[Verdict.PROBLEM]} failed"
    )
    return "\n".join(lines)


def as_data(findings: Sequence[Finding]) -> object:
    """Return the findings as plain data."""
    return {"findings": [msgspec.to_builtins(finding) for finding in findings]}
