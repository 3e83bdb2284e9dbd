"""Estimates, claims, placements and the reasons why there is none. All memory is in bytes; an unknown is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Confidence(StrEnum):
    """How sure an estimate is: a rule of thumb, a formula over headers, given by hand or measured."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Item:
    """One named part of a sum."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Memory an instance needs. ``upper`` is what is claimed.

    ``items`` is a second sum, part by part, where the claim follows a rule of thumb; ``missing`` names what would have
    to be known (a field of the facts, an option) where ``upper`` is None. ``measured`` is the highest that the same
    model was seen to hold, and ``measured_difference`` what that is above the formula. ``by_hand``: the user gave it.
    """

    weights: int | None = None
    kv: int | None = None
    activations: int | None = None
    runtime: int | None = None
    lower: int | None = None
    upper: int | None = None
    provenance: str = ""
    confidence: Confidence | None = None
    items: tuple[Item, ...] = ()
    missing: tuple[str, ...] = ()
    measured: int | None = None
    measured_difference: int | None = None
    by_hand: bool = False


@dataclass(frozen=True, slots=True)
class DeviceClaim:
    """Bytes held on one device."""

    device_id: str
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Bytes held on one node: host memory, and memory of devices."""

    memory_bytes: int = 0
    devices: tuple[DeviceClaim, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One node's part of a placement. ``node`` is its full name; rank 0 leads."""

    node: str
    claim: Claim
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where an instance runs, and what the placement decided for its launch.

    ``style`` is how it spans nodes, empty on one; ``parallelism`` has sizes ("tp", "pp") that no parameter says.
    """

    members: tuple[Member, ...]
    framework: str
    backend: str
    backend_version: str
    offloaded_layers: int | None = None
    score: float = 0.0
    overcommitted: bool = False
    context_length: int | None = None
    parallel: int | None = None
    memory_fraction: float | None = None
    tensor_split: tuple[float, ...] = ()
    style: str = ""
    parallelism: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One row of why not: what was needed, what was there, who holds the rest. Equal rows are folded with a count."""

    stage: str
    reason: str
    subject: str
    message: str
    count: int = 1
    resource: str = ""
    needed: int | None = None
    available: int | None = None
    holders: tuple[str, ...] = ()


class Remedy(StrEnum):
    """What is changed where something fits nowhere: an option of the engine, or the fleet."""

    FRACTION = "fraction"
    CONTEXT = "context"
    DEVICES = "devices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What would make a deployment fit; it was tried with the decision itself.

    Of an option: ``option`` with ``value`` in place of what is given. Of the fleet: so many ``nodes`` more that are
    ``like`` one there is, each with that many free ``devices`` of a framework and size and its host memory free;
    ``present`` is how many of these a node has now with as much left as is claimed of each.
    """

    remedy: Remedy
    message: str
    option: str = ""
    value: str = ""
    framework: str = ""
    device_memory_bytes: int | None = None
    devices: int = 0
    present: int = 0
    nodes: int = 0
    like: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A feasible placement with its score, 0 to 100, and what the score is made of."""

    placement: Placement
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)
