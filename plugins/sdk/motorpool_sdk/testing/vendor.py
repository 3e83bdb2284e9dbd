"""A vendor as its tests make it up: the library, cards in its scenario's words, and what a broken one says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from motorpool_sdk.testing.machine import FakeCommand, FakeLibrary, compile_library


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A command's output for so many cards, written after a real one's: ``one`` is the recording without the others.

    ``cards`` writes that many, each of which uses one unit more than the one before, the first ``used`` as recorded;
    ``total`` and those are in units of so many bytes.
    """

    cards: Callable[[int], Mapping[str, str]]
    one: Mapping[str, str]
    device_id: Callable[[int], str]
    used: int
    total: int
    unit: int

    def figures(self, count: int) -> dict[str, tuple[int | None, int | None]]:
        """What of total and used bytes is to be seen of each of these cards."""
        return {
            self.device_id(number): (self.total * self.unit, (self.used + number) * self.unit)
            for number in range(count)
        }


@dataclass(frozen=True, slots=True)
class Table:
    """A recorded table: what stands before its cards, the first card's lines, and what follows the last card's."""

    head: str
    card: str
    tail: str

    @classmethod
    def of(cls, printed: str, word: str, *, lines: int, cards: int, before: int = 0) -> Table:
        """Take a table apart: the first card's lines begin so many before the one that has ``word`` in it."""
        found = printed.splitlines(keepends=True)
        at = next(number for number, line in enumerate(found) if word in line) - before
        return cls("".join(found[:at]), "".join(found[at : at + lines]), "".join(found[at + lines * cards :]))

    def one(self) -> str:
        """The table of the first card alone."""
        return self.head + self.card + self.tail

    def written(self, cards: Iterable[Mapping[str, str]]) -> str:
        """The table of these cards: each is the first one's lines with some of its text in place of other."""
        return self.head + "".join(_instead(self.card, card) for card in cards) + self.tail


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A vendor's command: what it printed on a real machine for which arguments, and whose cards those are.

    ``fewer`` is that without the last card, ``written`` that of any number of cards.
    """

    name: str
    prints: Mapping[str, str]
    device_ids: tuple[str, ...]
    fewer: Mapping[str, str]
    written: Written | None = None

    def put(self, folder: Path) -> FakeCommand:
        """Put the command into a folder."""
        command = FakeCommand(folder, self.name)
        for arguments, text in self.prints.items():
            command.prints(arguments, text)
        return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Divided:
    """A card that is divided: what is written on the first card, and total and used bytes of its parts by their ids."""

    lines: tuple[str, ...]
    parts: Mapping[str, tuple[int | None, int | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeVendor:
    """A vendor's made-up library in C, ``source``. ``total`` and what cards use are in its own unit of so many bytes.

    ``card`` writes a card by number, with more lines on it and ``used``; ``first`` are lines about the library.
    ``newer`` are functions (and defines) that an old release is without, ``needed`` those that nothing works without.
    ``refusal`` is a line on which the library refuses, and what the plugin then says; ``unreadable`` makes a card one
    that cannot be named; ``untold`` leaves none of its figures told; ``absurd`` makes one figure nonsense.
    ``hangs`` are functions that it needs for opening the library, looking at cards, and measuring them. ``divided`` is
    for a vendor whose cards can be divided into partitions.
    """

    name: str
    package: str
    source: Path
    library: str
    card: Callable[..., str]
    device_id: Callable[[int], str]
    unit: int
    total: int
    needed: tuple[str, ...]
    refusal: tuple[str, str]
    unreadable: str
    untold: tuple[str, ...]
    absurd: Mapping[str, str]
    hangs: Mapping[str, str]
    first: str = ""
    defines: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()
    newer_defines: tuple[str, ...] = ()
    recorded: Recorded | None = None
    divided: Divided | None = None

    def cards(self, count: int, used: int = 100) -> str:
        """That many healthy cards, each of which uses one unit more than the one before."""
        return "".join(self.card(number, used=used + number) for number in range(count))

    def figures(self, count: int, used: int = 100) -> dict[str, tuple[int | None, int | None]]:
        """What of total and used bytes is to be seen of each of these cards."""
        return {
            self.device_id(number): (self.total * self.unit, (used + number) * self.unit) for number in range(count)
        }

    def compile(self, folder: Path, *, without: tuple[str, ...] = (), defines: tuple[str, ...] = ()) -> Path:
        """Compile the library into a folder."""
        return compile_library(
            self.source,
            folder / self.library,
            *self.defines,
            *defines,
            without=(*self.lacks, *without),
        )


class ShownLibrary:
    """A vendor's library in a folder, and the scenario that it tells of."""

    def __init__(self, vendor: MadeVendor, folder: Path, library: Path) -> None:
        self.vendor = vendor
        self._fake = FakeLibrary(folder, library)
        self.folder = self._fake.folder

    def show(self, scenario: str, first: str = "") -> None:
        """Have it tell of this from its next call on; ``first`` are more lines about the library itself."""
        self._fake.show(scenario, self.vendor.first + first)

    def unload(self) -> None:
        """Take the driver away."""
        (self.folder / "scenario").unlink()


def without_lines(printed: str, word: str, *, before: int = 0, after: int = 0) -> str:
    """Return a table without the first line that has ``word`` in it, and some before and after it."""
    lines = printed.splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if word in line)
    return "".join(lines[: at - before] + lines[at + after + 1 :])


def _instead(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"{old!r} is not in the recorded card {text!r}")
        text = text.replace(old, new)
    return text
