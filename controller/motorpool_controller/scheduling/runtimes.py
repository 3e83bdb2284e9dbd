"""Versions of vendors' runtimes: those of devices against those that a backend's version needs, as far as both tell."""

from __future__ import annotations

import re
from collections.abc import Iterable

from motorpool_controller.domain.fleet import BackendVersion, Device

_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def too_old(version: BackendVersion, framework: str, devices: Iterable[Device]) -> str:
    """Return which runtime a version needs and the oldest that devices have instead; empty where none is too old.

    A runtime that a device does not tell, or whose version is no number, is not held against it.
    """
    least = dict(version.least_runtimes).get(framework, "")
    wanted = _numbers(least)
    told = {device.runtime_version for device in devices if device.framework == framework}
    older = [text for text in told if wanted and (there := _numbers(text)) and there < wanted[: len(there)]]
    if not older:
        return ""
    oldest = min(older, key=lambda text: (_numbers(text), text))
    return f"{framework} {least} or later for version {version.version}, and its devices have {oldest}"


def too_old_message(backend: str, node: str, reasons: Iterable[str]) -> str:
    """Return why no version of a backend runs on a node, in words."""
    return f"{backend} on {node} needs {'; '.join(reasons)}; update the driver there, or choose another version."


def _numbers(text: str) -> tuple[int, ...]:
    found = _NUMBERS.match(text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
