"""Another authority in the place of the cluster's, step by step; who is not ready for a step is named.

Each step is decided in a command beside the controller, stands in one file from that moment on, and taken again changes
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from motorpool_controller.config import Settings
from motorpool_controller.domain.fleet import Node
from motorpool_controller.security import authorities
from motorpool_controller.security.authorities import Step, Trust
from motorpool_controller.security.errors import RotationError
from motorpool_controller.store.database import cluster_id, open_database
from motorpool_controller.store.loading import wishes

_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a step came to: ``anew`` is false where it had been taken before."""

    trust: Trust
    anew: bool
    forced: tuple[str, ...] = ()
    """Who was not ready for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Which authorities a node trusts, as its agent told when it last came into session."""

    node: str
    agent_version: str
    trusted: tuple[str, ...]
    state: str
    state_time: datetime | None
    banned: bool

    def knows(self, fingerprint: str) -> bool:
        """Return whether it told that it trusts an authority."""
        return fingerprint in self.trusted


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where the rotation stands, and where every node does."""

    trust: Trust
    nodes: tuple[Standing, ...]

    @property
    def behind(self) -> tuple[Standing, ...]:
        """The nodes that would be locked out if only the newest authority was left; a banned one is, anyhow."""
        newest = self.trust.signing.fingerprint
        return tuple(each for each in self.nodes if not each.banned and not each.knows(newest))

    @property
    def trusting_more(self) -> tuple[Standing, ...]:
        """The nodes that yet trust an authority that the cluster does not."""
        trusted = self.trust.fingerprints
        return tuple(each for each in self.nodes if set(each.trusted) - trusted)


def status(settings: Settings) -> Status:
    """Return where the rotation stands; raise a StoreError or an AuthorityError."""
    cluster, nodes = _nodes(settings)
    return Status(trust=authorities.load(settings.data_dir, cluster), nodes=nodes)


def begin(settings: Settings, now: datetime) -> Taken:
    """Make a second authority, which is trusted beside the first from now on."""
    with authorities.held(settings.data_dir):
        found = _settled(settings)
        rotation = found.trust.rotation
        if rotation is None:
            authorities.begun(settings.data_dir, found.trust.signing.cluster_id, now)
        elif rotation.step is not Step.OVERLAP:
            raise RotationError(
                f"the rotation that began at {_time(rotation.begin_time)} is not finished: end it first with "
                "`motorpool-controller ca finish`"
            )
        return Taken(trust=status(settings).trust, anew=rotation is None)


def switch(settings: Settings, now: datetime, *, force: bool = False) -> Taken:
    """Have the controller show certificates of the new authority; refuse while somebody would not trust them."""
    with authorities.held(settings.data_dir):
        found = _settled(settings)
        rotation = found.trust.rotation
        if rotation is None:
            raise RotationError("no rotation is under way: begin one with `motorpool-controller ca rotate`")
        if rotation.step is Step.SWITCHED:
            return Taken(trust=found.trust, anew=False)
        behind = _refuse_behind(found, "switch", force=force)
        authorities.write_rotation(settings.data_dir, replace(rotation, step=Step.SWITCHED, switch_time=now))
        return Taken(trust=status(settings).trust, anew=True, forced=behind)


def finish(settings: Settings, *, force: bool = False) -> Taken:
    """Trust the old authority no more; refuse while somebody has nothing else."""
    with authorities.held(settings.data_dir):
        found = _settled(settings)
        rotation = found.trust.rotation
        if rotation is None:
            raise RotationError(
                "no rotation is under way, or it is finished: begin one with `motorpool-controller ca rotate`"
            )
        if rotation.step is Step.OVERLAP:
            raise RotationError(
                "the controller yet shows a certificate of the old authority: `motorpool-controller ca switch` comes "
                "first, once agents and clients trust the new one (`motorpool-controller ca status`)"
            )
        behind = _refuse_behind(found, "finish", force=force)
        authorities.write_rotation(settings.data_dir, replace(rotation, step=Step.FINISHING))
        authorities.settle(settings.data_dir, found.trust.signing.cluster_id)
        return Taken(trust=status(settings).trust, anew=True, forced=behind)


def _settled(settings: Settings) -> Status:
    """Return where things stand after what a crash left of a step was carried to its end."""
    cluster, nodes = _nodes(settings)
    authorities.settle(settings.data_dir, cluster)
    return Status(trust=authorities.load(settings.data_dir, cluster), nodes=nodes)


def _nodes(settings: Settings) -> tuple[str, tuple[Standing, ...]]:
    engine = open_database(settings.database, migrate=False)
    try:
        _, nodes, _ = wishes(engine)
        return cluster_id(engine), tuple(_standing(each) for each in sorted(nodes, key=lambda node: node.name))
    finally:
        engine.dispose()


def _standing(node: Node) -> Standing:
    return Standing(
        node=node.name,
        agent_version=node.agent_version,
        trusted=node.trusted_authorities,
        state=node.state.value,
        state_time=node.state_time,
        banned=node.ban is not None,
    )


def _refuse_behind(found: Status, step: str, *, force: bool) -> tuple[str, ...]:
    names = tuple(each.node for each in found.behind)
    if names and not force:
        raise RotationError(
            f"{_listed(names)} would be locked out: they have not told that they trust the new authority. See "
            "`motorpool-controller ca status`; wait for them, upgrade their agents, or delete nodes that are gone. "
            f"`motorpool-controller ca {step} --force` does it all the same, and they have to enrol again"
        )
    return names


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
