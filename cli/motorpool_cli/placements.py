"""Where something runs, or could: nodes, devices, and what the placement decided, in words."""

from __future__ import annotations

from collections.abc import Iterable

from motorpool import v1
from motorpool_cli import text

_SIZES = {"tp": "tensor parallel", "pp": "pipeline parallel", "dp": "data parallel"}


def where(placement: v1.Placement) -> str:
    """Return each node with its devices and what is claimed of them, the leader first."""
    return "; ".join(_member(member) for member in placement.members)


def decided(placement: v1.Placement) -> str:
    """Return what the placement decided for the launch."""
    parts = []
    if placement.HasField("memory_fraction"):
        parts.append(f"{placement.memory_fraction:g} of each device")
    if placement.HasField("offloaded_layers"):
        layers = placement.offloaded_layers
        split = ", divided " + " + ".join(f"{each:g}" for each in placement.tensor_split)
        parts.append(f"{layers} layers on devices{split if placement.tensor_split else ''}")
    if placement.HasField("context_length"):
        parts.append(f"{placement.context_length:,} tokens of context")
    if placement.HasField("parallel"):
        parts.append(f"{placement.parallel} at a time")
    if placement.style:
        parts.append(f"over {len(placement.members)} nodes by {placement.style}")
    parts += [
        f"{words} {placement.parallelism[size]}" for size, words in _SIZES.items() if size in placement.parallelism
    ]
    if placement.overcommitted:
        parts.append("more than was free, as was allowed")
    return ", ".join(parts)


def _member(member: v1.PlacementMember) -> str:
    claim = member.claim
    host = [f"host memory {text.size(claim.memory_bytes)}"] if claim.memory_bytes else []
    return f"{text.bare(member.node)}: {', '.join([*_devices(claim.devices), *host]) or 'nothing'}"


def _devices(claims: Iterable[v1.DeviceClaim]) -> list[str]:
    """Return the devices, those with the same claim together."""
    alike: dict[int, list[str]] = {}
    for claim in claims:
        alike.setdefault(claim.memory_bytes, []).append(claim.device_id)
    return [f"{' '.join(ids)} {text.size(size)}{' each' if len(ids) > 1 else ''}" for size, ids in alike.items()]
