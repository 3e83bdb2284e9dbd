"""What engines leave on their devices: memory that does not come free after they ended, and who holds it.

The executor has ended all that is provably an instance's; what is left is nobody's for certain: told, not killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from motorpool_agent.inventory.strangers import Stranger
from motorpool_agent.reconcile.observation import OnDevices
from motorpool_sdk.accelerator import Sample

SETTLES_SECONDS = 5.0
_SLACK_BYTES = 64 << 20
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """An engine that ended: what its device showed while it ran, and when it was missed first."""

    instance: str
    before: Sample
    own: frozenset[int]
    missed_at: float


class Remains:
    """Compares each measurement with those before; ``look`` says of each device what did not come free."""

    def __init__(self, instance_of: Callable[[int], str], stranger_of: Callable[[int], Stranger]) -> None:
        self._instance_of = instance_of
        self._stranger_of = stranger_of
        self._running: Mapping[str, OnDevices] = {}
        self._samples: dict[str, tuple[Sample, Mapping[int, str]]] = {}
        self._ended: dict[str, _Ended] = {}

    def look(self, samples: Mapping[str, Sample], running: Mapping[str, OnDevices], now: float) -> Mapping[str, str]:
        """Return a sentence for each device on which something was left."""
        for name, engine in self._running.items():
            if running.get(name) != engine:
                self._note(name, engine, now)
        self._running = running
        for device_id, sample in samples.items():
            owners = {each.pid: self._instance_of(each.pid) for each in sample.processes}
            self._samples[device_id] = (sample, owners)
        busy = {device_id for engine in running.values() for device_id in engine.device_ids}
        left: dict[str, str] = {}
        for device_id, ended in list(self._ended.items()):
            if device_id not in samples or now - ended.missed_at < SETTLES_SECONDS:
                continue
            said = self._left(ended, device_id, busy=device_id in busy)
            if said:
                left[device_id] = said
            else:
                del self._ended[device_id]
        return left

    def _note(self, name: str, engine: OnDevices, now: float) -> None:
        for device_id in engine.device_ids:
            if device_id in self._samples and device_id not in self._ended:
                before, owners = self._samples[device_id]
                own = frozenset(pid for pid, owner in owners.items() if owner == name)
                self._ended[device_id] = _Ended(instance=name, before=before, own=own, missed_at=now)

    def _left(self, ended: _Ended, device_id: str, *, busy: bool) -> str:
        after, owners = self._samples[device_id]
        kept = [pid for pid, owner in owners.items() if pid in ended.own and not owner]
        if kept:
            named = " and ".join(self._stranger_of(pid).words for pid in kept[:_SHOWN])
            return (
                f"{ended.instance} ended, and memory of {named} did not come free; nothing proves it ours any more, so "
                "it is left alone: end it by hand, or reset the device"
            )
        hidden_bytes = _hidden_bytes(after, ended.before, busy=busy)
        if hidden_bytes > _SLACK_BYTES:
            return (
                f"{ended.instance} ended, and {hidden_bytes >> 20} MiB did not come free, of which the vendor names no "
                "process; look for one that has the device open, or reset the device"
            )
        return ""


def _hidden_bytes(after: Sample, before: Sample, *, busy: bool) -> int:
    """Return what did not come free of what no process explains; 0 where that cannot be told."""
    if after.used_bytes is None or before.used_bytes is None:
        return 0
    told = [each.used_bytes for each in (*before.processes, *after.processes)]
    if before.processes and None not in told:
        unexplained = after.used_bytes - sum(each.used_bytes or 0 for each in after.processes)
        explained_before = before.used_bytes - sum(each.used_bytes or 0 for each in before.processes)
        return unexplained - explained_before
    # Without processes only a device that nobody of ours uses tells: all that was used there is used still.
    went_down = after.used_bytes < before.used_bytes - _SLACK_BYTES
    return 0 if busy or went_down else after.used_bytes
