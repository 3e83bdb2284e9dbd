"""Ways in which engines fail, recognised by what they log.

They are data: a table of rows, searched in time that grows with the log alone, whoever wrote the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MOST_FAILURES = 100
MOST_PATTERNS = 20
MOST_CHARACTERS = 300
MOST_HOLES = 8
LEAST_LITERAL_CHARACTERS = 6
_VALUE_CHARACTERS = 200

_HOLE = re.compile(r"\{([a-z_]*)\}")
_REASON = re.compile(r"[A-Z][A-Z0-9_]{2,62}[A-Z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFailure:
    """One way to fail: any of ``patterns`` in a line of the log shows it.

    A pattern is text as the engine writes it, in which ``{}`` stands for anything and ``{name}`` for anything that
    ``message`` and ``hint`` repeat as ``{name}``; other braces are braces. ``reason`` is stable (``CAPITALS``).
    ``message`` says what happened, ``hint`` what to do about it, with the engine's own options: both clauses of one
    sentence, without a capital and without a full stop.
    """

    reason: str
    patterns: tuple[str, ...]
    message: str
    hint: str


class Recognised(NamedTuple):
    """A known failure that a log shows: the sentence with its values, and the line that showed it."""

    reason: str
    message: str
    line: str


def recognise(failures: Iterable[KnownFailure], lines: Sequence[str]) -> Recognised | None:
    """Return the first row that the log shows, by the first line that does; None where none does.

    The order of rows decides, not that of lines: what is told last in a log is seldom what it came from.
    """
    for known in failures:
        patterns = [_Pattern(pattern) for pattern in known.patterns]
        for line in lines:
            for pattern in patterns:
                values = pattern.values(line)
                if values is not None:
                    sentence = _filled(f"{known.message}; {known.hint}", values)
                    return Recognised(known.reason, sentence, line.strip())
    return None


def failure_faults(failures: Sequence[KnownFailure]) -> Iterator[str]:
    """Yield what is wrong with the rows of a profile, each as a clause that names the row."""
    if len(failures) > MOST_FAILURES:
        yield f"failures has {len(failures)} rows; {MOST_FAILURES} is the most"
    for known in failures:
        where = f"failures has {known.reason!r}"
        if not _REASON.fullmatch(known.reason):
            yield f"{where}; write a reason in capitals, e.g. DEVICE_OUT_OF_MEMORY"
        if not 0 < len(known.patterns) <= MOST_PATTERNS:
            yield f"{where} with {len(known.patterns)} patterns; give 1 to {MOST_PATTERNS}"
        for text in (*known.patterns, known.message, known.hint):
            if not 0 < len(text) <= MOST_CHARACTERS or not text.isprintable():
                yield f"{where} with {text[:60]!r}; write one line of 1 to {MOST_CHARACTERS} characters"
        for pattern in known.patterns:
            yield from (f"{where} with the pattern {pattern!r}; {fault}" for fault in _pattern_faults(pattern))
        told = {*_names(known.message), *_names(known.hint)}
        for pattern in known.patterns:
            for name in sorted(told - set(_names(pattern))):
                yield f"{where}: it repeats {{{name}}}, and the pattern {pattern!r} has none"


class _Pattern:
    """A pattern, taken apart: text, a hole, text, … Looked for from left to right, each text where it comes first.

    That finds a line that fits wherever there is one, and looks at no character of it twice for one text.
    """

    def __init__(self, pattern: str) -> None:
        first, *rest = _HOLE.split(pattern)
        self._first = first
        self._rest = tuple(zip(rest[::2], rest[1::2], strict=True))

    def values(self, line: str) -> Mapping[str, str] | None:
        """Return what a line has in the pattern's named holes; None where it does not fit."""
        start = line.find(self._first)
        if start < 0:
            return None
        values: dict[str, str] = {}
        at = start + len(self._first)
        for name, text in self._rest:
            end = line.find(text, at) if text else len(line)
            if end < 0:
                return None
            if name:
                values[name] = line[at:end].strip()[:_VALUE_CHARACTERS]
            at = end + len(text)
        return values


def _pattern_faults(pattern: str) -> Iterator[str]:
    texts = _HOLE.split(pattern)[::2]
    if max(len(text.strip()) for text in texts) < LEAST_LITERAL_CHARACTERS:
        yield f"it would fit any line; say {LEAST_LITERAL_CHARACTERS} characters of it in a row"
    if len(texts) - 1 > MOST_HOLES:
        yield f"it has {len(texts) - 1} holes; {MOST_HOLES} is the most"
    if any(not text for text in texts[1:-1]):
        yield "two holes touch; nobody can tell where the first one ends"
    names = [name for name in _names(pattern) if name]
    if len(set(names)) < len(names):
        yield "a name stands in it twice; give each hole one of its own"


def _names(text: str) -> list[str]:
    return [name for name in _HOLE.findall(text) if name]


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _HOLE.sub(lambda hole: values.get(hole[1], hole[0]), text)
