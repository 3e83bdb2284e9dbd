"""Feasible places for a whole model: on one device, or in host memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from motorpool_controller.domain.fleet import Device, Health
from motorpool_controller.domain.names import device_name
from motorpool_controller.domain.placement import Claim, Confidence, DeviceClaim, Member, Placement, Refusal
from motorpool_controller.domain.sizes import in_words
from motorpool_controller.scheduling.allocatable import Ledger, Room
from motorpool_controller.scheduling.offers import CPU, Offer
from motorpool_controller.scheduling.refusals import (
    DEVICE_MEMORY,
    HOST_MEMORY,
    estimate_unknown,
    memory_short,
    memory_unknown,
)
from motorpool_controller.scheduling.snapshot import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Feasible placements, none better than another but for their scores, and a row for each that is not feasible."""

    placements: tuple[Placement, ...] = ()
    refusals: tuple[Refusal, ...] = ()


Select = Callable[[Sequence[Offer], Request, Ledger], Selection]


@dataclass(slots=True)
class Search:
    """Placements and rows as they are found."""

    request: Request
    ledger: Ledger
    placements: list[Placement] = field(default_factory=list)
    overcommitted: list[Placement] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def on_one_device(self, offers: Iterable[Offer], *, layers: bool) -> None:
        """Look at each device that a version supports, for the whole model (B9.4); each that cannot is a row (A1)."""
        for offer in offers:
            for device in sorted(offer.devices, key=lambda device: device.device_id):
                row = _unusable(offer, device)
                if row is not None:
                    self.refusals.append(row)
                elif device.framework in offer.versions:
                    self._on(offer, device, layers=layers)

    def in_host_memory(self, offers: Iterable[Offer], *, layers: bool) -> None:
        """Look at each node whose backend runs on its processors (B9.8)."""
        for offer in offers:
            if offer.pinned or not offer.profile.cpu or CPU not in offer.versions:
                continue
            node, estimate = offer.node, offer.needs.host
            if estimate.upper is None:
                self.refusals.append(estimate_unknown(node.name, estimate.provenance))
                continue
            room = self.ledger.host(node)
            row = _shortage(node.name, HOST_MEMORY, estimate.upper, room, _hint(offer))
            if row is not None:
                self.refusals.append(row)
                continue
            claim = Claim(memory_bytes=estimate.upper)
            self.placements.append(_placement(offer, CPU, claim, offloaded=0 if layers else None))

    def selection(self) -> Selection:
        """Return what was found."""
        return Selection(placements=tuple(self.placements or self.overcommitted), refusals=tuple(self.refusals))

    def _on(self, offer: Offer, device: Device, *, layers: bool) -> None:
        node, needs = offer.node, offer.needs
        name = device_name(node.name, device.device_id)
        needed, beside = needs.device.upper, needs.beside
        if needed is None or beside is None:
            self.refusals.append(estimate_unknown(name, needs.device.provenance))
            return
        claim = Claim(memory_bytes=beside, devices=(DeviceClaim(device.device_id, needed),))
        placement = _placement(offer, device.framework, claim, offloaded=needs.layers if layers else None)
        host = self.ledger.host(node)
        room = self.ledger.device(node, device)
        shared = beside + needed if self.ledger.shares_host(node, device) else beside
        rows = [
            row
            for row in (
                _shortage(name, DEVICE_MEMORY, needed, room, _hint(offer)),
                _shortage(node.name, HOST_MEMORY, shared, host, _hint(offer)),
            )
            if row is not None
        ]
        if not rows:
            self.placements.append(placement)
        elif offer.pinned and self.request.spec.allow_overcommit:
            self.overcommitted.append(_overcommitted(placement))
        else:
            self.refusals.append(rows[0])


def _placement(offer: Offer, framework: str, claim: Claim, *, offloaded: int | None) -> Placement:
    return Placement(
        members=(Member(node=offer.node.name, claim=claim),),
        framework=framework,
        backend=offer.profile.backend,
        backend_version=offer.versions[framework].version,
        offloaded_layers=offloaded,
        context_length=offer.needs.context_length,
        parallel=offer.needs.parallel,
    )


def _overcommitted(placement: Placement) -> Placement:
    return Placement(
        members=placement.members,
        framework=placement.framework,
        backend=placement.backend,
        backend_version=placement.backend_version,
        offloaded_layers=placement.offloaded_layers,
        overcommitted=True,
        context_length=placement.context_length,
        parallel=placement.parallel,
    )


def _shortage(subject: str, resource: str, needed: int, room: Room, hint: str) -> Refusal | None:
    if room.available is None:
        return memory_unknown(subject, resource, needed, room)
    if room.available < needed:
        return memory_short(subject, resource, needed, room, hint)
    return None


def _unusable(offer: Offer, device: Device) -> Refusal | None:
    node = offer.node
    name = device_name(node.name, device.device_id)
    if device.cordoned or device.device_id in node.cordoned_devices:
        return _device_row(name, "DEVICE_CORDONED", f"{name} is cordoned; uncordon it to have it take work again.")
    if device.health is Health.UNHEALTHY:
        why = ", ".join(device.health_reasons) or "its plugin does not say why"
        return _device_row(name, "DEVICE_UNHEALTHY", f"{name} is unhealthy ({why}); repair it, or use another device.")
    if any(other.partition_of == device.device_id for other in node.devices):
        return _device_row(name, "DEVICE_PARTITIONED", f"{name} is cut into partitions; those are used, not the whole.")
    if device.framework not in offer.versions:
        runs_on = ", ".join(sorted(offer.versions))
        return _device_row(
            name,
            "FRAMEWORK_UNSUPPORTED",
            f"{name} needs {device.framework}, and {offer.profile.backend} on its node runs on {runs_on}; choose "
            "another backend or version to use it.",
            stage="framework",
        )
    return None


def _device_row(subject: str, reason: str, message: str, *, stage: str = "devices") -> Refusal:
    return Refusal(stage=stage, reason=reason, subject=subject, message=message)


def _hint(offer: Offer) -> str:
    if offer.needs.host.confidence is Confidence.HIGH:
        return "What helps: claiming less by hand, a larger node, or stopping what holds the memory."
    ways = ["a smaller quantisation of the model", "a larger node", "stopping what holds the memory"]
    if offer.context_option and offer.needs.context_length is not None and offer.needs.host.kv:
        ways.insert(
            0,
            f"a smaller context ({offer.context_option}, now {offer.needs.context_length:,} tokens, which take"
            f" {in_words(offer.needs.host.kv)})",
        )
    return f"What helps: {', '.join(ways[:-1])}, or {ways[-1]}."
