"""Backends that use no more than so many devices."""

import pytest

from motorpool_controller.scheduling.scheduler import schedule
from tests.controller.scheduling.accelerators import BACKENDS, backend, cards, fleet, machine, wish

CHAT = "instances/chat-1"


@pytest.mark.parametrize(("most", "devices"), [(0, 2), (1, 0)])
def test_what_uses_one_device_is_not_divided(most: int, devices: int) -> None:
    """
    What needs 100 GiB goes to two cards of 80, but to the processors where the engine uses one card only.
    """
    backends = {**BACKENDS, "fixed": backend("fixed", most_devices=most)}
    snapshot = fleet(machine("a", cards(2)), backends=backends)

    placement = schedule(snapshot, [wish(100, backend="fixed", cpu_offloading=True)]).placements[CHAT]

    assert devices == len(placement.members[0].claim.devices)
