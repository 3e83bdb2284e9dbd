"""Where the controller is looked for: where it was last, then wherever else one is known to be."""

from __future__ import annotations

from collections.abc import Sequence

_TIMES = 2
"""So often one is asked in a round: those that stand by may name each other for a moment."""


class Route:
    """The order in which controllers are asked. It is never longer than what is known, and nothing of it is lost."""

    def __init__(self) -> None:
        self._first: str = ""
        self._asked: dict[str, int] = {}
        self._named: tuple[str, ...] = ()
        self._avoided: str = ""

    def begin(self) -> None:
        """Begin a round: everyone may be asked again."""
        self._asked = {}

    def next(self, known: Sequence[str]) -> str | None:
        """Return whom to ask now, None where the round is over."""
        order = [*self._named, *sorted(known, key=lambda each: (each == self._avoided, each != self._first))]
        for endpoint in order:
            most = _TIMES if endpoint in self._named else 1
            if self._asked.get(endpoint, 0) < most:
                self._asked[endpoint] = self._asked.get(endpoint, 0) + 1
                return endpoint
        return None

    def welcomed(self, endpoint: str) -> None:
        """Ask this one first from now on."""
        self._first, self._named, self._avoided = endpoint, (), ""

    def named(self, leader: Sequence[str]) -> None:
        """Go on where one that stands by said that the leader is; nowhere in particular where it knows none."""
        self._named = tuple(leader)

    def failed(self, endpoint: str) -> None:
        """Ask this one after the others: it did not answer."""
        self._avoided = endpoint
        self._named = tuple(each for each in self._named if each != endpoint)
