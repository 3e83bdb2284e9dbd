"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_SECONDS = 1.0
CAP_SECONDS = 20.0
SOON_SECONDS = 3.0
"""A fleet that asks who leads is spread over so long."""
AGAIN_SHARE = 0.2
"""Of the time in which a fleet comes back: how soon one comes again for which there was no room, at the latest."""
_DRIFT = 0.1
"""Agents that were in step by chance come out of it."""


class Backoff:
    """Full jitter: a uniform share of 1, 2, 4 … 20 seconds, so that a fleet does not come back in step.

    A fleet that is too large to be let in within that spreads over the time that its controller told: the second try
    gives each agent a place in it, which it keeps.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._tries = 0
        self._turned_away = 0
        self.spread_seconds = 0.0
        """Over how long the fleet comes back."""

    def spread(self, seconds: float) -> None:
        """Come back within so many seconds, as others of the fleet do."""
        self.spread_seconds = seconds

    def reset(self) -> None:
        """Begin again at the first delay, after a connection that worked."""
        self._tries = self._turned_away = 0

    def delay_seconds(self, at_least_seconds: float | None = None) -> float:
        """Return the next delay. What the controller asked for is waited whole, and jitter comes on top."""
        ceiling = min(CAP_SECONDS, FIRST_SECONDS * 2.0 ** min(self._tries, 16))
        tries, self._tries = self._tries, self._tries + 1
        if tries and at_least_seconds is None and self.spread_seconds > ceiling:
            share = self._chance() if tries == 1 else 1.0 + _DRIFT * (self._chance() - 0.5)
            return self.spread_seconds * share
        return (at_least_seconds or 0.0) + ceiling * self._chance()

    def soon_seconds(self, at_least_seconds: float | None = None) -> float:
        """Return a short delay, each time alike: it is waited for another controller, which is about to lead."""
        return (at_least_seconds or FIRST_SECONDS) + max(SOON_SECONDS, self.spread_seconds) * self._chance()

    def again_seconds(self) -> float:
        """Return a delay after a try that came in its turn and found no room: soon, and later where there is none yet.

        To wait for the fleet's next turn would take as long again as all of it takes to come back.
        """
        ceiling = max(SOON_SECONDS, AGAIN_SHARE * self.spread_seconds) * 2.0 ** min(self._turned_away, 16)
        self._turned_away += 1
        return FIRST_SECONDS + min(ceiling, max(CAP_SECONDS, self.spread_seconds)) * self._chance()

    def longest_seconds(self, at_least_seconds: float | None = None) -> float:
        """Return a delay at the cap, for refusals that do not pass by themselves."""
        self._tries = max(self._tries, 5)
        return max(at_least_seconds or 0.0, CAP_SECONDS * (0.5 + self._chance() / 2))
