"""What rows have in common is one object after they were read."""

from dataclasses import replace

from motorpool_controller.domain.fleet import Device, Node
from motorpool_controller.domain.workload import Instance
from motorpool_controller.store.codec import decode, encode
from motorpool_controller.store.sharing import Sharing
from tests.controller.fleets import placed
from tests.controller.rows import node
from tests.controller.scheduling.accelerators import QWEN3_32B

CARD = Device(device_id="GPU-0", vendor="nvidia", framework="cuda", product="A card of 80 GiB", driver_version="570.1")


def test_words_of_devices_are_shared() -> None:
    """
    Two nodes with the same product have its name once, and are what they were.
    """
    body = encode(replace(node("a"), devices=(CARD,)))
    sharing = Sharing()
    one, two = (sharing.node(decode(body, Node)) for _ in range(2))

    assert decode(body, Node) == one == two
    assert one.devices[0].product is two.devices[0].product
    assert one.devices[0].device_id is two.devices[0].device_id


def test_facts_of_models_are_shared() -> None:
    """
    Two instances of a model have its facts once, and are what they were.
    """
    before = placed("a")
    assert before.assignment is not None
    row = replace(before, assignment=replace(before.assignment, facts=QWEN3_32B))
    sharing = Sharing()
    one, two = (sharing.instance(decode(encode(row), Instance)) for _ in range(2))

    assert row == one == two
    assert one.assignment is not None
    assert two.assignment is not None
    assert one.assignment.facts is two.assignment.facts
