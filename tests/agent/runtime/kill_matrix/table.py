"""The kill matrix as it is printed at the end of a run: steps by executors and victims, with how often each was hit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, get_args

from motorpool_agent.failpoints import Step

PROPERTY = "kill_matrix"


class Result(NamedTuple):
    """What became of one cell. Recorded as a list: test processes tell each other of plain values only."""

    executor: str
    victim: str
    step: str
    hits: int
    passed: bool


def lines(reports: Iterable[Any]) -> Iterator[str]:
    """Yield the table of those cells that ran; nothing if none did."""
    hits: dict[tuple[str, str], str] = {}
    columns: dict[str, None] = {}
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == PROPERTY and report.when == "call":
                cell = Result(*value)
                column = f"{cell.executor}/{cell.victim}"
                columns[column] = None
                hits[column, cell.step] = str(cell.hits) if cell.passed else f"FAILED {cell.hits}"
    if not hits:
        return
    order = sorted(columns)
    yield " ".join([f"{'killed at':<20}", *(f"{column:>15}" for column in order)])
    for step in get_args(Step):
        found = [hits.get((column, step), "·") for column in order]
        yield " ".join([f"{step:<20}", *(f"{text:>15}" for text in found)])
    passed = sum(not text.startswith("FAILED") for text in hits.values())
    yield f"{passed} of {len(hits)} cells passed; each shows how often its step was reached, · where there is none"
