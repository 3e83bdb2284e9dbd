"""Answers on the terminal: tables for people, JSON or YAML for programs; errors on stderr."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Iterable, Sequence

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from motorpool_cli import text
from motorpool_cli.failures import CommandError

_STYLES = {
    "RUNNING": "green",
    "READY": "green",
    "AVAILABLE": "green",
    "HEALTHY": "green",
    "PENDING": "yellow",
    "SCHEDULED": "yellow",
    "DOWNLOADING": "yellow",
    "STARTING": "yellow",
    "PROGRESSING": "yellow",
    "STOPPING": "yellow",
    "DELETING": "yellow",
    "ENROLLED": "yellow",
    "SUSPECT": "yellow",
    "WARNING": "yellow",
    "DEGRADED": "yellow",
    "ERROR": "red",
    "UNREACHABLE": "red",
    "QUARANTINED": "red",
    "UNHEALTHY": "red",
    "INCOMPATIBLE": "red",
}
_GAP = "  "


class Format(enum.StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


# What is printed is data: never markup, never folded at the terminal's edge. Colours are for terminals, NO_COLOR aside.
console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def plain(message: Message) -> dict[str, object]:
    """Return a message as JSON's own types, with the proto's field names."""
    result: dict[str, object] = MessageToDict(message, preserving_proto_field_name=True)
    return result


def print_document(value: object, output: Format, *, one_line: bool = False) -> None:
    """Print one document, JSON or YAML; ``one_line`` has JSON be a line."""
    indent = None if one_line else 2
    print(json.dumps(value, indent=indent, ensure_ascii=False) if output is Format.JSON else _yaml(value), flush=True)


def _yaml(value: object) -> str:
    # Ten milliseconds that only this format pays for.
    import yaml  # noqa: PLC0415

    class Dumper(yaml.SafeDumper):
        """Writes a paragraph as a block, as a person would."""

    Dumper.add_representer(
        str,
        lambda dumper, string: dumper.represent_scalar(
            "tag:yaml.org,2002:str", string, style="|" if "\n" in string else None
        ),
    )
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=math.inf)).rstrip("\n")


def say(line: str = "", style: str = "") -> None:
    """Print a line of the answer."""
    console.print(Text(text.printable(line), style=style))


def note(line: str) -> None:
    """Print a line beside the answer, on stderr."""
    errors.print(Text(text.printable(line)))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str, widths: Sequence[int] = ()
) -> list[int]:
    """Print rows under their columns, or ``empty`` when there are none; return the widths. States are coloured.

    A row is a line, as wide as it needs: what is piped is what is seen, and a terminal folds its lines by itself. With
    the ``widths`` of a table that is there already the rows go on under it.
    """
    cells = [[_cell(cell) for cell in row] for row in rows]
    if not cells:
        if empty:
            note(empty)
        return []
    if not widths:
        widths = [max(cell_len(row[index]) for row in [columns, *cells]) for index in range(len(columns))]
        console.print(Text(_line(columns, widths), style="bold"))
    for row in cells:
        line = Text(end="")
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            last = index == len(row) - 1
            line.append(cell, style=_STYLES.get(cell.split(" ")[0], ""))
            line.append("" if last else " " * (width - cell_len(cell)) + _GAP)
        line.rstrip()
        console.print(line)
    return list(widths)


def _cell(value: str) -> str:
    # An empty cell would shift its row for awk and its like.
    return text.printable(" ".join(value.split("\n"))) or text.UNKNOWN


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True))
    return _GAP.join(padded).rstrip()


def print_facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns, leaving out what is unknown or empty."""
    known = [(name, text.printable(value)) for name, value in pairs if value and value != text.UNKNOWN]
    width = max((cell_len(name) for name, _ in known), default=0)
    for name, value in known:
        line = Text.assemble((name, "bold"), " " * (width - cell_len(name)) + _GAP)
        # The further lines of a value stand under its first.
        line.append(value.replace("\n", "\n" + " " * (width + len(_GAP))), style=_STYLES.get(value.split(" ")[0], ""))
        console.print(line)


def print_error(error: CommandError, output: Format) -> None:
    """Print why a command failed, on stderr."""
    if output is not Format.TABLE:
        document = {"error": {"reason": error.reason, "message": error.message, "exit_code": int(error.exit_code)}}
        errors.print(Text(json.dumps(document, ensure_ascii=False) if output is Format.JSON else _yaml(document)))
    else:
        message, reason = text.printable(error.message), text.printable(error.reason)
        errors.print(Text.assemble(("error: ", "bold red"), message, (f" [{reason}]", "dim")))
