"""Which of equal devices to take together: those that are linked."""

from __future__ import annotations

from collections.abc import Sequence

from motorpool_controller.domain.fleet import Device


def linked(chosen: Sequence[Device], equal: Sequence[Device], wanted: int) -> list[int]:
    """Return which of the equal devices to add to the chosen ones, by position: greedily the best linked, then by id.

    Links are ranked by bandwidth where it is told, else one counts as much as another.
    """
    if not any(device.links for device in equal) or wanted >= len(equal):
        return list(range(min(wanted, len(equal))))
    starts = range(len(equal)) if not chosen else (None,)
    return max((_grown(chosen, equal, wanted, start) for start in starts), key=lambda grown: (grown[0], grown[2]))[1]


def _grown(
    chosen: Sequence[Device], equal: Sequence[Device], wanted: int, start: int | None
) -> tuple[int, list[int], list[int]]:
    """Return the worth of a set grown from a device, its positions, and what to prefer the first by id with."""
    taken = [] if start is None else [start]
    worth = 0 if start is None else _worth(equal[start], chosen)
    while len(taken) < wanted:
        group = [*chosen, *(equal[number] for number in taken)]
        rest = [number for number in range(len(equal)) if number not in taken]
        best = max(rest, key=lambda number: (_worth(equal[number], group), -number))
        worth += _worth(equal[best], group)
        taken.append(best)
    taken.sort()
    return worth, taken, [-number for number in taken]


def _worth(device: Device, group: Sequence[Device]) -> int:
    ids = {other.device_id for other in group}
    there = sum(link.bandwidth_bytes_per_second or 1 for link in device.links if link.device_id in ids)
    back = sum(
        link.bandwidth_bytes_per_second or 1
        for other in group
        for link in other.links
        if link.device_id == device.device_id
    )
    return max(there, back)
