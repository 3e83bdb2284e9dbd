"""What one node was told so far, and what it must be told next. No I/O: the session sends what comes out."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from motorpool import v1

_ASSIGNMENT = "assignment/"
_TOMBSTONE = "tombstone/"
_NONE: frozenset[str] = frozenset()


class Told:
    """A node's desired state as it was last sent, over all its sessions with this start of the controller."""

    def __init__(self, controller_epoch: int) -> None:
        self._epoch = controller_epoch
        self._digests: dict[str, str] = {}
        self.version = 0
        self.tombstones: dict[str, int] = {}
        """Uids of assignments whose removal was ordered, each with the version that first said so."""

    def everything(self, objects: Iterable[v1.DesiredObject]) -> v1.DesiredState:
        """Return the whole desired state. It keeps its version where nothing changed."""
        now = {item.id: item for item in objects}
        if self.version == 0 or self._changed(now):
            self.version += 1
        self._note(now)
        return v1.DesiredState(results_in=self._version(self.version), objects=now.values())

    def change(self, objects: Iterable[v1.DesiredObject]) -> v1.DesiredState | None:
        """Return what changed; None when nothing did."""
        now = {item.id: item for item in objects}
        if not self._changed(now):
            return None
        removed = sorted(self._digests.keys() - now.keys())
        vanished = [item.removeprefix(_ASSIGNMENT) for item in removed if item.startswith(_ASSIGNMENT)]
        if any(_TOMBSTONE + uid not in now for uid in vanished):
            # No change can take an assignment away without a tombstone; the agent quarantines what is missing here.
            return self.everything(now.values())
        before = self.version
        self.version += 1
        changed = [item for item in now.values() if self._digests.get(item.id) != item.digest]
        self._note(now)
        return v1.DesiredState(
            results_in=self._version(self.version),
            applies_to=self._version(before),
            objects=changed,
            # A tombstone takes its assignment's place by itself.
            removed=[item for item in removed if not item.startswith(_ASSIGNMENT)],
        )

    def _changed(self, now: dict[str, v1.DesiredObject]) -> bool:
        return self._digests != {item.id: item.digest for item in now.values()}

    def _note(self, now: dict[str, v1.DesiredObject]) -> None:
        self._digests = {item.id: item.digest for item in now.values()}
        uids = {item.removeprefix(_TOMBSTONE) for item in now if item.startswith(_TOMBSTONE)}
        self.tombstones = {uid: self.tombstones.get(uid, self.version) for uid in uids}

    def _version(self, version: int) -> v1.DesiredVersion:
        return v1.DesiredVersion(controller_epoch=self._epoch, version=version)


class Acknowledged:
    """What one session's agent said of what it was told, and what follows for instances that are to go.

    An instance is gone when its agent took the tombstone and then showed, in full or by a matching digest, that it has
    nothing of it, or when it named it as removed. Merely not having heard of it is not enough.
    """

    def __init__(self) -> None:
        self.version = 0
        self._shown = 0
        self._removed = _NONE

    def accept(self, version: int) -> None:
        """The agent took this version."""
        self.version = max(self.version, version)

    def show(self) -> None:
        """The agent showed all that it has, after everything it said before."""
        self._shown = self.version

    def remove(self, uids: Iterable[str]) -> None:
        """The agent named these as no longer there."""
        for uid in uids:
            self._removed |= {uid}

    def gone(self, told: Told, present: AbstractSet[str]) -> frozenset[str]:
        """Return the uids of tombstones that were carried out; ``present`` are those that the agent still has."""
        if not told.tombstones:
            self._removed = _NONE
            return _NONE
        self._removed = self._removed.intersection(told.tombstones).difference(present)
        return frozenset(
            uid
            for uid, version in told.tombstones.items()
            if uid not in present and version <= self.version and (version <= self._shown or uid in self._removed)
        )

    def unsure(self, told: Told, present: AbstractSet[str]) -> bool:
        """Return whether the agent took a tombstone of something that it may have: it should show what it has."""
        gone = self.gone(told, present)
        return any(
            version <= self.version and uid not in present and uid not in gone
            for uid, version in told.tombstones.items()
        )
