"""Releases of vLLM, and those that are known to be unsafe by the project's own security advisories."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from motorpool_sdk import Finding, Severity

Release = tuple[int, int, int]

_RELEASE = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Advisory:
    """One advisory: which releases it is about, from ``first`` on and before ``fixed``, and what may happen."""

    name: str
    first: Release
    fixed: Release
    what: str


ADVISORIES = (
    Advisory("CVE-2026-22778", (0, 8, 3), (0, 14, 1), "who sends a video to a model that takes some can run code"),
)


def release_of(version: str) -> Release | None:
    """Return the release that a version is of; None where it does not tell."""
    match = _RELEASE.match(version)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 0))


def findings(version: str) -> Iterator[Finding]:
    """Yield a warning for each advisory about a version; nothing where its release cannot be told."""
    release = release_of(version)
    if release is None:
        return
    for advisory in ADVISORIES:
        if advisory.first <= release < advisory.fixed:
            fixed = ".".join(str(part) for part in advisory.fixed)
            message = f"vllm {version} has {advisory.name}: {advisory.what}; upgrade it to {fixed} or later"
            yield Finding(severity=Severity.WARNING, reason="VERSION_UNSAFE", message=message)
