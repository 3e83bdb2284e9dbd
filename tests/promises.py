"""
Print which promises are held by tests and which are owed; exit 1 where the tests and promises.toml disagree.

A test holds a promise by ``@pytest.mark.promise("P3")``; a test that is skipped outright holds nothing.
"""

import contextlib
import io
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
FILE = HERE / "promises.toml"
WIDTH = 110


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise as promises.toml has it."""

    id: str
    sentence: str
    owed: str | None
    """Why no test holds it yet."""
    missing: str | None = None
    """Which part of it no test holds yet, where tests hold the rest."""


class Collector:
    """Notes which test names which promise."""

    def __init__(self) -> None:
        self.tests: dict[str, list[str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Read the markers of every test."""
        for item in items:
            if item.get_closest_marker("skip"):
                continue
            name = item.nodeid.split("[")[0]
            for mark in item.iter_markers("promise"):
                for promise in mark.args or ("(none)",):
                    tests = self.tests.setdefault(str(promise), [])
                    if name not in tests:
                        tests.append(name)


def main() -> int:
    """Collect, compare, print; the process's exit status."""
    promises = read(FILE.read_text())
    collector = Collector()
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = pytest.main(["--collect-only", "-q", "-n", "0", "--rootdir", str(HERE.parent), str(HERE)], [collector])
    if status not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        print(output.getvalue())
        return 1
    print("\n".join(table(promises, collector.tests)))
    wrong = faults(promises, collector.tests)
    for fault in wrong:
        print(f"promises: {fault}", file=sys.stderr)
    return 1 if wrong else 0


def read(text: str) -> list[Promise]:
    """Return the promises of a promises.toml."""
    return [
        Promise(promise, entry["sentence"], entry.get("owed"), entry.get("missing"))
        for promise, entry in tomllib.loads(text).items()
    ]


def faults(promises: Iterable[Promise], tests: Mapping[str, list[str]]) -> list[str]:
    """Return where the tests and the list of promises disagree."""
    known = {promise.id: promise for promise in promises}
    found = [f"{promise} is no promise, yet {tests[promise][0]} holds it" for promise in tests if promise not in known]
    for promise in known.values():
        if promise.owed and promise.id in tests:
            found.append(f"{promise.id} is owed, yet {tests[promise.id][0]} holds it: strike `owed` from promises.toml")
        elif not promise.owed and promise.id not in tests:
            found.append(f"{promise.id} has no test: write one, or say in promises.toml why it is `owed`")
    return found


def table(promises: Iterable[Promise], tests: Mapping[str, list[str]]) -> list[str]:
    """Return the lines of the report."""
    lines: list[str] = []
    for promise in promises:
        held = "part" if promise.missing else "held"
        state = held if promise.id in tests else "owed" if promise.owed else "BARE"
        lines += textwrap.wrap(
            promise.sentence,
            WIDTH,
            initial_indent=f"{promise.id:4}{state:6}",
            subsequent_indent=" " * 10,
        )
        lines += [f"          - {test}" for test in tests.get(promise.id, [])]
        if promise.missing:
            lines += textwrap.wrap(
                promise.missing, WIDTH, initial_indent="          missing: ", subsequent_indent=" " * 19
            )
        if promise.owed:
            lines += textwrap.wrap(promise.owed, WIDTH, initial_indent="          owed: ", subsequent_indent=" " * 16)
    return lines


if __name__ == "__main__":
    sys.exit(main())
