"""Tables that vendors' commands print: a header of one or more lines between rules, then as many lines for each card.

They are read by the names in their headers. Columns come, go and move between releases; names stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_FEWEST_NAMES = 3


def table(printed: str, names: re.Pattern[str], values: re.Pattern[str]) -> Iterator[tuple[bool, dict[str, str]]]:
    """Yield each line of a table's rows as values by name, and whether it is the first line of its row.

    ``names`` finds the names in a header's cell, ``values`` the values in a row's: as many as there are names, and the
    rest belongs to the last. Several tables may follow one another.
    """
    headers: list[list[list[str]]] = []
    at = 0
    is_header = False
    for line in printed.splitlines():
        stripped = line.strip()
        if stripped.lstrip("+|").startswith("=="):
            at, is_header = 0, False
        if not stripped.startswith("|"):
            continue
        cells = [cell.strip() for cell in stripped.strip("|").split("|")]
        named = [names.findall(cell) for cell in cells]
        count = sum(map(len, named))
        if count >= _FEWEST_NAMES or (is_header and count):
            headers = [*headers, named] if is_header else [named]
            is_header = True
        elif headers and not is_header and len(cells) == len(headers[at]):
            yield at == 0, dict(_pairs(headers[at], cells, values))
            at = (at + 1) % len(headers)


def _pairs(header: Sequence[Sequence[str]], cells: Sequence[str], values: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    for names, cell in zip(header, cells, strict=True):
        found = [match[0] for match in values.finditer(cell)]
        yield from zip(names, found, strict=False)
        if names and len(names) < len(found):
            yield names[-1], " ".join(found[len(names) - 1 :])
