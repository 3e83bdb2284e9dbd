import json

import pytest
import yaml

from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.output import Format, print_document, print_error, print_facts, print_table


def test_a_table_is_as_wide_as_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A long cell is neither folded nor cut, short columns stay aligned, and no line ends in blanks.
    """
    print_table(("A", "LONG", "B"), [("1", "x" * 300, "RUNNING"), ("22", "模型", "")], empty="")

    lines = capsys.readouterr().out.splitlines()
    assert ["A   LONG" + " " * 298 + "B", "1   " + "x" * 300 + "  RUNNING", "22  模型" + " " * 298 + "-"] == lines


def test_a_cell_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A newline in a cell does not break its row, and markup in it stays what it is.
    """
    print_table(("A", "B"), [("one\ntwo", "[red]x[/red] :smile:")], empty="")

    assert "one two  [red]x[/red] :smile:" == capsys.readouterr().out.splitlines()[1]


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A table without rows says so on stderr, and prints no header.
    """
    print_table(("A",), [], empty="Nothing.")

    assert ("", "Nothing.\n") == tuple(capsys.readouterr())


def test_a_pipe_has_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A state is coloured on a terminal alone.
    """
    print_table(("STATE",), [("RUNNING",)], empty="")

    assert "STATE\nRUNNING\n" == capsys.readouterr().out


def test_facts(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Unknown facts are left out, and further lines stand under the first.
    """
    print_facts([("Name", "x"), ("Gone", "-"), ("Empty", ""), ("Longer", "a\nb")])

    assert "Name    x\nLonger  a\n        b\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (Format.TABLE, "error: It broke.\nTry [again]. [BROKEN]\n"),
        (Format.JSON, '{"error": {"reason": "BROKEN", "message": "It broke.\\nTry [again].", "exit_code": 1}}\n'),
        (Format.YAML, "error:\n  reason: BROKEN\n  message: |-\n    It broke.\n    Try [again].\n  exit_code: 1\n"),
    ],
)
def test_errors(capsys: pytest.CaptureFixture[str], output: Format, shown: str) -> None:
    """
    An error goes to stderr, as a paragraph, as one line of JSON or in YAML.
    """
    print_error(CommandError(Exit.FAILED, "BROKEN", "It broke.\nTry [again]."), output)

    assert ("", shown) == tuple(capsys.readouterr())


def test_yaml_says_what_json_says(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A document reads back alike from both: numbers in text stay text, lines stay lines, and words of any script too.
    """
    value = {
        "name": "no",
        "bytes": "1024",
        "ratio": 0.5,
        "tail": ["a\n b", "模型", ""],
        "labels": {"on": "yes"},
        "none": [],
    }

    for output, parse in ((Format.JSON, json.loads), (Format.YAML, yaml.safe_load)):
        print_document(value, output)
        assert value == parse(capsys.readouterr().out)
