"""Names of rows in their order, which lists are read in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


class Order:
    """The names of rows, sorted when somebody asks after some came or went: merely changed, a row keeps its place."""

    def __init__(self, rows: Mapping[str, object]) -> None:
        self._rows = rows
        self._names: list[str] = []
        self._touched: set[str] = set(rows)

    def touch(self, names: Iterable[str]) -> None:
        """Rows of these names came or went."""
        self._touched.update(names)

    @property
    def names(self) -> Sequence[str]:
        """The names as they are now. What was returned before stays as it was."""
        if self._touched:
            kept = [name for name in self._names if name not in self._touched]
            # Nearly sorted: that is merged, not sorted.
            self._names = sorted([*kept, *sorted(self._touched & self._rows.keys())])
            self._touched.clear()
        return self._names
