"""Rows of known failures: what they match, what is wrong with them, and that no row makes a log slow to read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from motorpool_sdk.failures import MOST_CHARACTERS, KnownFailure, failure_faults, recognise

ROW = KnownFailure(
    reason="LIBRARY_MISSING",
    patterns=("loading {library}: cannot open", "{library} not found by {}"),
    message="{library} is missing",
    hint="install {library}",
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("error while loading libx.so: cannot open it", "libx.so is missing; install libx.so"),
        ("liby.so not found by ld", "liby.so is missing; install liby.so"),
        ("loading loading a: cannot open", "loading a is missing; install loading a"),
        ("cannot open: loading x", None),
        ("", None),
    ],
)
def test_holes_take_what_stands_between_texts(line: str, expected: str | None) -> None:
    """
    A pattern fits where its texts come one after the other; a named hole's text is repeated in the sentence.
    """
    seen = recognise([ROW], [line])

    assert expected == (None if seen is None else seen.message)


def test_rows_decide_before_lines() -> None:
    """
    A row that stands earlier is told, though a later one fits an earlier line.
    """
    later = KnownFailure(reason="ANYTHING", patterns=("something",), message="it", hint="wait")
    seen = recognise([ROW, later], ["something happened", "loading liba: cannot open"])

    assert seen is not None
    assert ("LIBRARY_MISSING", "loading liba: cannot open") == (seen.reason, seen.line)


def test_other_braces_are_text() -> None:
    """
    Braces that name nothing stand for themselves, in patterns and in what a line has.
    """
    row = replace(ROW, patterns=('{"error": {library}, 7}',), message="{library} {Not a hole}")
    seen = recognise([row], ['{"error": {x}, 7}'])

    assert seen is not None
    assert seen.message == "{x} {Not a hole}; install {x}"


def test_values_are_bounded() -> None:
    """
    What a hole takes of an endless line is cut.
    """
    seen = recognise([ROW], [f"loading {'x' * 5000}: cannot open"])

    assert seen is not None
    assert len(seen.message) < 500


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (replace(ROW, reason="missing"), "write a reason in capitals"),
        (replace(ROW, patterns=()), "with 0 patterns"),
        (replace(ROW, patterns=("{library}",)), "it would fit any line"),
        (replace(ROW, patterns=("loading {library}{}: cannot",)), "two holes touch"),
        (replace(ROW, patterns=("loading {library} and {library}",)), "a name stands in it twice"),
        (replace(ROW, patterns=("loading something",)), "it repeats {library}"),
        (replace(ROW, patterns=("loading {library}" + "x" * MOST_CHARACTERS,)), "write one line of"),
        (replace(ROW, hint=""), "write one line of"),
        (replace(ROW, message="two\nlines of {library}"), "write one line of"),
        (replace(ROW, patterns=("loading {library} a{}a{}a{}a{}a{}a{}a{}a{}a",)), "9 holes"),
    ],
)
def test_faults_are_named(row: KnownFailure, fault: str) -> None:
    """
    What is wrong with a row is told, with its reason.
    """
    faults = list(failure_faults([row]))

    assert len(faults) >= 1
    assert fault in faults[0]
    assert row.reason in faults[0]


def test_a_good_row_has_no_faults() -> None:
    """
    A row that keeps the rules passes.
    """
    assert [] == list(failure_faults([ROW]))


def test_too_many_rows_are_a_fault() -> None:
    """
    A table has an end.
    """
    assert "101 rows" in next(failure_faults([ROW] * 101))


@given(
    pattern=st.lists(st.sampled_from(["a", "aa", "b", "{}", "{x}", "{y}", " "]), max_size=9).map("".join),
    lines=st.lists(st.text(alphabet="ab ", max_size=40), max_size=4),
)
def test_any_pattern_agrees_with_the_plain_definition(pattern: str, lines: Sequence[str]) -> None:
    """
    A line fits where the texts of a pattern stand in it one after the other, whatever the pattern.
    """
    assume("}{" not in pattern)
    row = replace(ROW, patterns=(pattern,), message="it", hint="wait")
    plain = re.compile(".*?".join(re.escape(text) for text in re.split(r"\{[a-z_]*\}", pattern)))

    assert any(plain.search(line) for line in lines) == (recognise([row], lines) is not None)


def test_the_slowest_table_reads_the_longest_log() -> None:
    """
    A full table of patterns that nearly fit is searched through 200 lines of 2,000 characters: no row can blow up.
    """
    pattern = "{}".join(["aaaaaa", *["aab"] * 8])
    table = [replace(ROW, patterns=(pattern,) * 20, message="it", hint="wait")] * 100

    assert recognise(table[:20], ["a" * 2000] * 200) is None
