"""A benchmark's figures, the machine they were taken on, and the table that shows them."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

BAR_CHARACTERS = 50
CPUINFO = Path("/proc/cpuinfo")


class BenchmarkError(Exception):
    """A benchmark could not measure; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value: its key in JSON carries the unit, its meaning stands in the table.

    ``aim`` is the most that it is to be, ``least`` the least. Those with a ``bar``, which is their unit, are drawn
    below the table, all to one scale.
    """

    key: str
    value: float
    meaning: str
    aim: float | None = None
    least: float | None = None
    bar: str = ""

    @property
    def verdict(self) -> str:
        """Say which aims were met."""
        verdicts: list[str] = []
        if self.aim is not None:
            verdicts.append(f"≤ {self.aim:g}: {'met' if self.value <= self.aim else '**missed**'}")
        if self.least is not None:
            verdicts.append(f"≥ {self.least:g}: {'met' if self.value >= self.least else '**missed**'}")
        return ", ".join(verdicts)


def median(values: Sequence[float]) -> float:
    """Return the p50."""
    return statistics.median(values)


def percentile_95(values: Sequence[float]) -> float:
    """Return the p95: the value that one in twenty exceeds."""
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def machine() -> str:
    """Return in one line what the figures were taken on."""
    found = re.search(r"^model name\s*: (.+)$", _read(CPUINFO), re.MULTILINE)
    processor = found[1] if found else platform.machine()
    memory_gib = psutil.virtual_memory().total / 1024**3
    return (
        f"{processor}, {os.cpu_count()} logical processors, {memory_gib:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table, below the machine and the day."""
    day = datetime.now(UTC).date().isoformat()
    rows = "\n".join(
        f"| {figure.meaning} | `{figure.key}` | {figure.value:g} | {figure.verdict} |" for figure in figures
    )
    return f"{day}, {machine()}\n\n| | key | value | aim |\n|---|---|---|---|\n{rows}\n{plot(figures)}"


def plot(figures: Sequence[Figure]) -> str:
    """Return bars of the figures that have one, as a block of Markdown; nothing if none has."""
    drawn = [figure for figure in figures if figure.bar]
    if not drawn:
        return ""
    longest, widest = max(figure.value for figure in drawn), max(len(figure.key) for figure in drawn)

    def bar(figure: Figure) -> str:
        return "█" * max(1, round(BAR_CHARACTERS * figure.value / longest))

    lines = "\n".join(f"{figure.key:<{widest}}  {bar(figure)} {figure.value:g} {figure.bar}" for figure in drawn)
    return f"\n```text\n{lines}\n```\n"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
