"""How much of the time may go into asking a vendor's code."""

from __future__ import annotations

from collections.abc import Callable


class Budget:
    """At most a ``share`` of the time in the long run, with some seconds in hand.

    What costs more than is in hand is paid for by a rest: two seconds at a twentieth are asked for every forty.
    """

    def __init__(self, share: float, in_hand_seconds: float, clock: Callable[[], float]) -> None:
        self._share = share
        self._most_seconds = in_hand_seconds
        self._clock = clock
        self._at = clock()
        self._left_seconds = in_hand_seconds

    def allows(self) -> bool:
        """Whether there is something in hand."""
        now = self._clock()
        self._left_seconds = min(self._most_seconds, self._left_seconds + self._share * (now - self._at))
        self._at = now
        return self._left_seconds > 0

    def spend(self, seconds: float) -> None:
        """Take what something cost."""
        self._left_seconds -= seconds


def rest_seconds(cost_seconds: float, share: float) -> float:
    """Return how long something that costs so much is not done again, if it may take a share of the time."""
    return cost_seconds / share
