"""Ends of engines' logs on file, each with the reason that is to be recognised and where it was seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_REASON, _SOURCE = "# reason: ", "# source: "


@dataclass(frozen=True)
class FailureLog:
    """A recorded log; ``source`` is a public thread, or what was run here and when."""

    name: str
    reason: str
    source: str
    lines: tuple[str, ...]


def failure_logs(folder: Path) -> list[FailureLog]:
    """The logs of a folder, by name."""
    return [_read(file) for file in sorted(folder.glob("*.log"))]


def _read(file: Path) -> FailureLog:
    reason, source, *lines = file.read_text(encoding="utf-8").splitlines()
    assert reason.startswith(_REASON), file
    assert source.startswith(_SOURCE), file
    return FailureLog(file.stem, reason.removeprefix(_REASON), source.removeprefix(_SOURCE), tuple(lines))
