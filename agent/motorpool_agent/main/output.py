"""Answers of the agent's commands: lines for people, documents for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from motorpool_agent.config import ConfigError

FORMATS = ("text", "json", "yaml")
UNKNOWN = "-"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def checked_format(output: str) -> str:
    """Return the name of a format; raises ConfigError for one that there is not."""
    if output not in FORMATS:
        raise ConfigError(f"flag --output is {output!r}, which is not allowed: give text, json or yaml")
    return output


def document(value: object, output: str) -> str:
    """Return plain data as JSON or YAML."""
    if output == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    import yaml  # noqa: PLC0415  # only this format pays for it

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=math.inf)).rstrip("\n")


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose cells stand below each other; an empty cell is a dash."""
    cells = [[" ".join(shown(cell).split()) or UNKNOWN for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(cells[0]))] if cells else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def size(count: int | None) -> str:
    """Return bytes in the largest binary unit that leaves at least one, with three figures."""
    if count is None:
        return UNKNOWN
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.3g} {_UNITS[unit]}"


def shown(text: str) -> str:
    """Return others' words with what moves a cursor escaped."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
