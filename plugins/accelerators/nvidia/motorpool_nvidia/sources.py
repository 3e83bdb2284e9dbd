"""The ways to NVIDIA's cards, best first: the next answers where one cannot be used, or does not answer in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from motorpool_nvidia.records import Card, Condition, DriverError, Fault, Measurement, System, Unreadable
from motorpool_sdk import SourceReport
from motorpool_sdk.hardware import Bounded, Unavailable

T = TypeVar("T")

_CARDS_SECONDS = 5.0
_ONE_SECONDS = 2.0


class Answers(Protocol):
    """What NVML and nvidia-smi tell alike. Each raises DriverError where it cannot be used at all."""

    def source(self) -> SourceReport:
        """Return where it was found, and what became of it."""
        ...

    def system(self) -> System:
        """Return the versions."""
        ...

    def cards(self) -> list[Card | Unreadable]:
        """Return every card there is."""
        ...

    def find(self, uuid: str) -> Fault | None:
        """Return None if this card or partition is there, else why not."""
        ...

    def measure(self, uuid: str) -> Measurement | Fault:
        """Return a measurement of one card or partition."""
        ...

    def condition(self, uuid: str) -> Condition:
        """Return what tells of a card's health."""
        ...


class Sources:
    """The first source that answers. One that hangs is left behind in a thread of its own until it returns."""

    def __init__(self, sources: Sequence[Answers]) -> None:
        self._sources = tuple(sources)
        self._threads = [Bounded(source.source().name) for source in sources]
        self._failures: dict[int, str] = {}
        self._current: int | None = None

    def reports(self) -> list[SourceReport]:
        """Return where each was found, which of them answers, and why others do not."""
        return [
            replace(
                source.source(),
                in_use=number == self._current,
                failure=self._failures.get(number, ""),
            )
            for number, source in enumerate(self._sources)
        ]

    def look(self) -> tuple[list[Card | Unreadable], System]:
        """Return the cards and the versions, of one source; raises DriverError with what each says."""
        return self._first(lambda source: (source.cards(), source.system()), _CARDS_SECONDS)

    def find(self, uuid: str) -> Fault | None:
        """Return None if this card or partition is there, else why not."""
        return self._first(lambda source: source.find(uuid), _ONE_SECONDS)

    def measure(self, uuid: str) -> Measurement | Fault:
        """Return a measurement of one card or partition."""
        return self._first(lambda source: source.measure(uuid), _ONE_SECONDS)

    def condition(self, uuid: str) -> Condition:
        """Return what tells of a card's health."""
        return self._first(lambda source: source.condition(uuid), _ONE_SECONDS)

    def _first(self, ask: Callable[[Answers], T], seconds: float) -> T:
        self._current = None
        for number, source in enumerate(self._sources):
            try:
                answer = self._threads[number].call(lambda source=source: ask(source), seconds)  # type: ignore[misc]
            except DriverError as error:
                self._failures[number] = str(error)
                continue
            except Unavailable as error:
                # That it still hangs says less than where it began to.
                self._failures.setdefault(number, str(error))
                continue
            self._current = number
            self._failures.pop(number, None)
            return answer
        raise DriverError("; ".join(self._failures.values()))
