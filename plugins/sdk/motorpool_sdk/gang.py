"""What a backend says of running over several nodes, and what a member of such a gang is told. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

HTTP = "http"
"""The port that every member reserves, named by no style: ``LaunchRequest.port``."""


class StartOrder(StrEnum):
    """Which members are started before which.

    ``leader_first``: the followers once the leader's process lives; ``followers_first``: the leader once all of them
    are ready.
    """

    TOGETHER = "together"
    LEADER_FIRST = "leader_first"
    FOLLOWERS_FIRST = "followers_first"


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports that a member reserves on its node before anything is started: ``count`` in a row, by one name."""

    name: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributedStyle:
    """One way in which a backend spans nodes.

    ``style`` is the name that the controller's rules know it by: ``mp`` (vLLM's own launcher), ``ray``, ``nnodes``
    (SGLang), ``rank_table`` (MindIE), ``rpc`` (llama.cpp). The leader reserves ``leader_ports`` and each follower
    ``follower_ports``, all of them ``http`` besides. Of a version's ``parts``, those named in ``alike`` have to be the
    same on every member; one that a member's version does not tell is not compared.
    """

    style: str
    leader_ports: tuple[PortRange, ...] = ()
    follower_ports: tuple[PortRange, ...] = ()
    start_order: StartOrder = StartOrder.TOGETHER
    alike: tuple[str, ...] = ()

    def ports(self, rank: int) -> tuple[PortRange, ...]:
        """Return what the member of this rank reserves beside ``http``."""
        return self.follower_ports if rank else self.leader_ports


@dataclass(frozen=True, slots=True, kw_only=True)
class GangDevice:
    """A device of a member.

    ``index`` is as its vendor counts it, None for a partition; ``address`` is the device's own on the network of
    accelerators (``Device.network_address``), empty where it has none.
    """

    device_id: str
    index: int | None = None
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GangMember:
    """One node's part of a gang.

    ``node`` is ``nodes/{node}``, ``devices`` are in the claim's order, and ``ports`` the first of those that it
    reserved under each name, ``http`` among them. ``parts`` are its version's, as far as they have to be alike; of
    other members none are told.
    """

    rank: int
    node: str
    address: str
    devices: tuple[GangDevice, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """An instance over several nodes, as one member is told of it.

    ``members`` are all of them by rank; rank 0 leads, and it alone is asked by users. Everybody is told the same but
    ``rank``, which is this member's own, and ``interface``, the network interface of this node that has its address.
    """

    style: str
    rank: int
    members: tuple[GangMember, ...]
    interface: str = ""

    @property
    def leader(self) -> GangMember:
        """The member that leads."""
        return self.members[0]

    @property
    def own(self) -> GangMember:
        """The member that is told."""
        return self.members[self.rank]

    @property
    def leads(self) -> bool:
        """Whether this member leads."""
        return self.rank == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """Sizes that the placement decided, because the user's parameters give none; None where it decided nothing.

    One node of n devices is one tensor group of n. k nodes of n devices are k stages of such groups, unless the user
    says otherwise.
    """

    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
