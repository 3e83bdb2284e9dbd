"""Where agents find the controllers, and when they are told that this changed."""

from __future__ import annotations

from motorpool import v1
from motorpool_controller.domain.controllers import Controller, agents_endpoints
from motorpool_controller.store.store import Store


class Whereabouts:
    """Tells the agent of a session of all controllers: with its Welcome, and again whenever there are others.

    Of a database that has one controller it tells nothing: what was told at enrolment stays.
    """

    def __init__(self, store: Store, me: Controller) -> None:
        self._store = store
        self._me = me
        self._seen = store.standings
        self.told = self._present()
        """What the agent knows, or is to be told next."""
        self._due = False

    def look(self) -> bool:
        """Look whether there is something to tell."""
        if self._store.standings is self._seen:
            return False
        self._seen = self._store.standings
        present = self._present()
        if set(present) == set(self.told):
            return False
        self.told, self._due = present, True
        return True

    def take(self) -> v1.ControllersChanged | None:
        """Return what is to be told now."""
        due, self._due = self._due, False
        return v1.ControllersChanged(agent_endpoints=self.told) if due else None

    def _present(self) -> tuple[str, ...]:
        return agents_endpoints(self._me, self._seen) if self._seen else ()
