"""Backends that take what the claim or the estimate says: one device, several, else host memory (B10)."""

from __future__ import annotations

from motorpool_controller.domain.sizes import GIB
from motorpool_controller.scheduling.demand import Demand, Fault
from motorpool_controller.scheduling.rules.parallel import wanted_devices
from motorpool_controller.scheduling.rules.wish import Wish

HOST_SHARE = 0.1
LEAST_HOST = 2 * GIB
"""Host memory beside a device: a tenth of the device's, at least this (B10)."""


def demand(wish: Wish) -> Demand:
    """Return what an instance asks for. Host memory by hand and none of a device means host memory alone."""
    spec, needs = wish.spec, wish.needs
    need = needs.device.upper
    by_hand = spec.claim_memory_bytes
    host_only = by_hand is not None and spec.claim_device_memory_bytes is None and not spec.devices
    memory = None if need is None else max(int(HOST_SHARE * need), LEAST_HOST)
    wanted, differ = wanted_devices(wish, None)
    # Who claims device memory by hand wants a device, unless host memory is allowed by name.
    on_host = spec.cpu_offloading or (spec.cpu_offloading is None and spec.claim_device_memory_bytes is None)
    given = by_hand is None and spec.claim_device_memory_bytes is not None
    in_host = need if given or needs.host.upper is None else needs.host.upper
    return Demand(
        need=need,
        provenance=needs.device.provenance,
        on_devices=not host_only,
        world=wanted,
        memory=by_hand if by_hand is not None else memory,
        several=wish.profile.most_devices != 1,
        host=in_host,
        host_wanted=on_host and not spec.devices,
        faults=(*differ, *_too_many(wish, wanted)),
    )


def _too_many(wish: Wish, wanted: int | None) -> tuple[Fault, ...]:
    most = wish.profile.most_devices
    if not most or wanted is None or wanted <= most:
        return ()
    asked = f"{wanted} devices are wanted for an instance, and {wish.profile.backend} uses {most} at most"
    return (Fault("DEVICES_TOO_MANY", f"{asked}; give devices_per_instance {most}, or pin so many."),)
