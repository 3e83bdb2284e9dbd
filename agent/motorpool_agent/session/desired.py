"""The desired state as the agent holds it: in full or by deltas, never by guessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from motorpool import v1
from motorpool_agent.convert.desired import BadMessageError, DesiredBody, body_of, version_message, version_of
from motorpool_agent.reconcile.assignment import (
    Assignment,
    DeleteFiles,
    Desired,
    DesiredVersion,
    LogSubscription,
    ReadModel,
    Tombstone,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A desired state that makes sense; it holds once it was recorded and adopted."""

    version: DesiredVersion
    bodies: Mapping[str, DesiredBody]

    def desired(self) -> Desired:
        """Return it sorted by kind."""
        bodies = self.bodies.values()
        return Desired(
            version=self.version,
            assignments={each.assignment_id: each for each in bodies if isinstance(each, Assignment)},
            tombstones={each.assignment_id: each for each in bodies if isinstance(each, Tombstone)},
            queries={each.query_id: each for each in bodies if isinstance(each, ReadModel | DeleteFiles)},
            logs={each.subscription_id: each for each in bodies if isinstance(each, LogSubscription)},
        )


class DesiredBook:
    """What this agent holds of the controller's wishes, over all its sessions.

    ``accepted`` is the last version accepted, also by an earlier run of the agent; the objects of that one are not
    known any more, so that a delta to it is answered with a wish for everything.
    """

    def __init__(self, accepted: DesiredVersion | None) -> None:
        self.accepted = accepted
        self._held: DesiredVersion | None = None
        self._bodies: Mapping[str, DesiredBody] = {}

    def consider(self, message: v1.DesiredState) -> Proposal | v1.DesiredAck:
        """Return what the message proposes, or the acknowledgement that refuses it."""
        version = version_of(message.results_in)
        if version.controller_epoch < 1 or version.version < 1:
            return _refused(version, "FIELD_INVALID", "results_in has no version; both of its parts count from 1")
        if self.accepted is not None and version < self.accepted:
            return _refused(
                version,
                "DESIRED_STALE",
                f"desired state {_text(version)} is older than {_text(self.accepted)}, which this agent accepted; "
                "its store is older than what this agent was told; where its file was put back by hand, a "
                "`motorpool-controller backup` and `restore` of it makes newer ones",
            )
        delta = message.HasField("applies_to")
        if delta and (self._held is None or version_of(message.applies_to) != self._held):
            held = "none" if self._held is None else _text(self._held)
            return _refused(
                version,
                "DESIRED_MISMATCH",
                f"a change of {_text(version_of(message.applies_to))}, and this agent holds {held}; send everything",
                resend=True,
            )
        try:
            return Proposal(version=version, bodies=self._changed(message, delta=delta))
        except BadMessageError as error:
            return _refused(version, "FIELD_INVALID", str(error))

    def adopt(self, proposal: Proposal) -> v1.DesiredAck:
        """Hold a proposal, now that it is on disk, and return its acknowledgement."""
        self.accepted = self._held = proposal.version
        self._bodies = proposal.bodies
        return v1.DesiredAck(version=version_message(proposal.version))

    def refuse(self, proposal: Proposal, reason: str, message: str) -> v1.DesiredAck:
        """Return the acknowledgement that refuses a proposal after all."""
        return _refused(proposal.version, reason, message)

    def _changed(self, message: v1.DesiredState, *, delta: bool) -> Mapping[str, DesiredBody]:
        changed = dict(self._bodies) if delta else {}
        coming = {each.id: body_of(each) for each in message.objects}
        removed = set(message.removed)
        if not delta and removed:
            raise BadMessageError("removed has ids, and this is everything: what is not here is not wanted")
        if both := removed & coming.keys():
            raise BadMessageError(f"object {min(both)[:80]!r} is both changed and removed")
        changed.update(coming)
        for object_id in removed:
            self._check_removal(object_id, changed)
            changed.pop(object_id, None)
        # A tombstone takes its assignment's place: nobody removes an assignment by leaving it out.
        for body in coming.values():
            if isinstance(body, Tombstone):
                assignment = changed.get(f"assignment/{body.assignment_id}")
                if isinstance(assignment, Assignment) and assignment.generation <= body.generation:
                    del changed[f"assignment/{body.assignment_id}"]
        return changed

    def _check_removal(self, object_id: str, changed: Mapping[str, DesiredBody]) -> None:
        body = self._bodies.get(object_id)
        if not isinstance(body, Assignment):
            return
        tombstone = changed.get(f"tombstone/{body.assignment_id}")
        if not isinstance(tombstone, Tombstone) or tombstone.generation < body.generation:
            raise BadMessageError(
                f"object {object_id} is an assignment and cannot be removed; a tombstone is what ends it"
            )


def _refused(version: DesiredVersion, reason: str, message: str, *, resend: bool = False) -> v1.DesiredAck:
    return v1.DesiredAck(version=version_message(version), error_reason=reason, error_message=message, resend=resend)


def _text(version: DesiredVersion) -> str:
    return f"{version.controller_epoch}.{version.version}"
