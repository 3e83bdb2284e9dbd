"""Releases of SGLang: when options came, and which releases are known to be unsafe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from motorpool_sdk import Finding, Severity

Release = tuple[int, int, int]

_RELEASE = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")

FIRST_WITH_DIFFUSION = (0, 5, 5)


@dataclass(frozen=True, slots=True)
class Advisory:
    """One advisory: releases from ``first`` on and before ``fixed`` (None: no release is known to be), and what."""

    name: str
    first: Release
    fixed: Release | None
    what: str
    images_alone: bool = False
    """It is about models that make pictures alone."""


ADVISORIES = (
    # CERT/CC VU#665416: sockets that unpickle what anybody sends to them; released with 0.5.10.
    Advisory("CVE-2026-3060", (0, 4, 0), (0, 5, 10), "who reaches its internal ports can run code"),
    Advisory("CVE-2026-3059", (0, 5, 5), (0, 5, 10), "who reaches its internal ports can run code", images_alone=True),
    # CERT/CC VU#777338, published 2026-05-18, names no fixed release.
    Advisory("CVE-2026-7301", (0, 5, 5), None, "who reaches its scheduler's port can run code", images_alone=True),
)


def release_of(version: str) -> Release | None:
    """Return the release that a version is of; None where it does not tell."""
    match = _RELEASE.match(version)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 0))


def findings(version: str, *, images: bool) -> Iterator[Finding]:
    """Yield a warning for each advisory about a version; nothing where its release cannot be told."""
    release = release_of(version)
    if release is None:
        return
    for advisory in ADVISORIES:
        fixed = advisory.fixed
        if (advisory.images_alone and not images) or release < advisory.first or (fixed and release >= fixed):
            continue
        remedy = (
            f"upgrade it to {'.'.join(str(part) for part in fixed)} or later"
            if fixed
            else "let nobody but trusted hosts reach the node, or expose it locally"
        )
        message = f"sglang {version} has {advisory.name}: {advisory.what}; {remedy}"
        yield Finding(severity=Severity.WARNING, reason="VERSION_UNSAFE", message=message)
