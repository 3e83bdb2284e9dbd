"""The folders that the agent writes into."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from motorpool_agent.config import Config
from motorpool_agent.main.doctor.findings import Finding, ok, problem, warning
from motorpool_agent.main.output import size
from motorpool_agent.state.directory import holder

_LEAST_BYTES = 1 << 30
# An engine with its libraries takes some gigabytes.
_ROOMY_BYTES = 10 << 30


async def data_directory(config: Config) -> list[Finding]:
    """Whether state can be kept, and who keeps some there now."""
    found = _writable("data directory", config.data_dir, "--data-dir")
    pid = holder(config.data_dir)
    user = f"agent with pid {pid} runs on it" if pid is not None else "no agent runs on it"
    return [found if found.remedy else ok(found.check, f"{found.summary}; {user}")]


async def cache_directory(config: Config) -> list[Finding]:
    """Whether downloads can be kept."""
    return [_writable("cache directory", config.cache_dir, "--cache-dir")]


def _writable(check: str, folder: Path, flag: str) -> Finding:
    there = folder
    try:
        while not there.exists():
            there = there.parent
    except OSError:
        # A folder above it is closed to this user: the nearest that can be seen is asked for.
        while not os.access(there, os.F_OK, effective_ids=True):
            there = there.parent
    if not there.is_dir():
        return problem(check, f"{there} is no directory", f"move it away, or name another one with {flag}")
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        owner = there.stat().st_uid
        return problem(
            check,
            f"{folder} cannot be written: {there} belongs to user {owner}, and this is user {os.geteuid()}",
            f"run this as the agent's user (root: with sudo), or name a directory of this user's with {flag}",
        )
    free_bytes = shutil.disk_usage(there).free
    state = f"{folder}: {size(free_bytes)} free"
    if there != folder:
        state += ", made at the first start"
    if free_bytes < _LEAST_BYTES:
        return problem(check, state, f"free some space: at least {size(_LEAST_BYTES)}; engines take more")
    if free_bytes < _ROOMY_BYTES:
        return warning(check, state, "free some space: an engine with its libraries takes some gigabytes")
    return ok(check, state)
