"""What one instance asks of devices, once its backend's rules have read the model, the parameters and the wish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from motorpool_controller.estimation.offload import Offload

Share = Callable[[str, int], float]
"""The fraction of a device that is taken, by its framework and size in bytes; 0 where backends take none."""


@dataclass(frozen=True, slots=True)
class Divisor:
    """A number of the model that tensor parallelism has to divide, and what it is in words."""

    what: str
    number: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Why parameters and model cannot go together, wherever it would be placed."""

    reason: str
    message: str


def no_share(_framework: str, _total: int) -> float:
    """Return 0: what is claimed is what the model needs."""
    return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What an instance asks of devices; check and claim come from this one object (A6).

    ``need`` is the model on devices, None and why where unknown; nothing of it goes there unless ``on_devices``.
    ``share`` says which fraction of a device is taken; where it is 0 each device takes its part of the need, or, if
    ``replicated``, the whole of it.

    ``world`` is how many devices there have to be, no more and no fewer; None leaves it to the rules. ``tensor`` is the
    size of tensor parallelism if the user gave any parallel size; None has the devices of a node be one tensor group,
    whose size all ``divisors`` must be divisible by, and ``kv_heads`` divisible by or a divisor of. ``group`` devices
    serve one request together (tensor times pipeline): a node holds whole groups, or a group whole nodes.
    ``groups_local`` is how many groups a node has to have, and ``nodes`` how many nodes it is to span, if the user
    said.

    Across nodes: ``style`` is how (empty: it cannot), ``single`` whether one node can have only one such instance,
    ``powers`` whether a node takes 1, 2, 4, 8 … devices, ``networked`` whether devices need an address of their own.

    ``memory`` bytes of each node's host memory go with it, and ``memory_ratio`` times what it claims of the devices
    there. ``host`` is what it needs of host memory if it runs without a device, as it
    may if ``host_wanted``; None where it is unknown. Of several nodes each needs ``host_fixed`` of that whole, and its
    part of the rest.

    Where layers lie on devices, ``offload`` answers for any number of ``layers``: ``all_layers`` and ``some_layers``
    tell what is allowed, ``layers_wanted`` how many have to be there, ``ratios`` how the user divides them.
    """

    need: int | None
    provenance: str = ""
    on_devices: bool = True
    share: Share = no_share
    fraction: str = ""
    replicated: bool = False
    world: int | None = None
    tensor: int | None = None
    group: int = 1
    groups_local: int | None = None
    nodes: int | None = None
    divisors: tuple[Divisor, ...] = ()
    kv_heads: tuple[int, ...] = ()
    several: bool = True
    fewest: bool = True
    similar: float = 0.0
    style: str = ""
    single: bool = False
    powers: bool = False
    networked: bool = False
    memory: int | None = 0
    memory_ratio: float = 0.0
    host: int | None = None
    host_wanted: bool = False
    host_fixed: int = 0
    layers: int | None = None
    offload: Offload | None = None
    layers_wanted: int | None = None
    all_layers: bool = False
    some_layers: bool = False
    ratios: tuple[float, ...] = ()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    def memory_of(self, claimed: int) -> int:
        """Return the host memory of a node on whose devices so many bytes are claimed."""
        return (self.memory or 0) + int(self.memory_ratio * claimed)

    @property
    def spans(self) -> bool:
        """Whether the user wants it on more than one node."""
        return self.nodes is not None and self.nodes > 1

    def host_each(self, nodes: int) -> int:
        """Return the host memory of each of so many nodes on whose processors it runs."""
        host = self.host or 0
        return -(-(host - self.host_fixed) // nodes) + self.host_fixed

    def each_of(self, count: int) -> int:
        """Return what each of so many devices takes where no fraction is: its part of the need, rounded up (A6)."""
        need = self.need or 0
        return need if self.replicated else -(-need // count)

    def parallelism(self, devices: Sequence[int]) -> dict[str, int]:
        """Return the sizes for so many devices on each node; none where the user says them (A4, B14.8).

        The devices of a node are a tensor group, nodes the stages of a pipeline. Nodes with different numbers of
        devices are one pipeline of all.
        """
        if self.tensor is not None or self.replicated or self.offload is not None:
            return {}
        if not any(devices):  # on processors: one rank a node
            sizes = {"tp": len(devices)}
        elif len(set(devices)) == 1:
            sizes = {"tp": devices[0], "pp": len(devices)}
        else:
            sizes = {"pp": sum(devices)}
        return {name: size for name, size in sizes.items() if size > 1}

    def distributed_needed(self, width: int) -> bool:
        """Return whether nodes of so many devices cannot give what is wanted one by one."""
        return self.world is None or self.world > width

    def indivisible(self, tensor: int) -> str:
        """Return what cannot be divided among so many devices, in words; empty where all can (A4, B5.2)."""
        for divisor in self.divisors:
            if divisor.number % tensor:
                return f"{divisor.number} {divisor.what} cannot be divided among {tensor} devices"
        for heads in self.kv_heads:
            if heads % tensor and tensor % heads:
                return f"{heads} key/value heads neither divide {tensor} devices nor are divided by them"
        return ""

    def fits_node(self, count: int) -> str:
        """Return why a node cannot take so many devices of the instance, in words; empty where it can."""
        if self.tensor is None:
            return self.indivisible(count)
        if count % self.group and self.group % count:
            return f"groups of {self.group} devices are neither whole on {count} devices of a node nor on whole nodes"
        if count % self.tensor and self.tensor % count:
            return f"tensor groups of {self.tensor} devices are neither whole on {count} devices nor on whole nodes"
        local = max(count // self.group, 1)
        if self.groups_local is not None and local != self.groups_local:
            return f"{count} devices of a node hold {local} groups, and {self.groups_local} were asked for"
        return ""
