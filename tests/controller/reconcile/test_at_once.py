"""How many instances one decision places."""

from __future__ import annotations

from dataclasses import replace

from motorpool_controller.reconcile.agenda import Agenda, Changes
from motorpool_controller.reconcile.decide import decide
from motorpool_controller.reconcile.placing import AT_ONCE
from motorpool_controller.scheduling.scheduler import schedule
from motorpool_controller.scheduling.snapshot import Request, Snapshot, Touched
from tests.controller.fleets import NOW, applied, deployment, ids, node, world


def test_many_instances_are_placed_by_several_decisions() -> None:
    """
    A decision places some, has the next one made at once, and all of them come to the same as one for all.
    """
    wish = deployment("x", replicas=2 * AT_ONCE + 10)
    now = replace(world([node(f"n{number:03}") for number in range(100)], [wish]), agenda=Agenda())
    fresh, placed, decisions = ids(), list[int](), 0
    while not placed or placed[-1]:
        before = sum(each.placement is not None for each in now.instances.values())
        decision = decide(now, NOW, fresh)
        decisions += 1
        now = applied(now, decision)
        placed.append(sum(each.placement is not None for each in now.instances.values()) - before)
        rows = Touched(instances=frozenset(each.name for each in decision.put_instances))
        now = replace(now, changes=Changes(rows=rows, deployments=frozenset({wish.name}), leases=False))
        assert (decision.wake_at == NOW) == (placed[-1] == AT_ONCE)
    requests = [Request(name=name, deployment=wish.name, spec=wish.spec) for name in sorted(now.instances)]
    snapshot = Snapshot(nodes=now.nodes, profiles=now.profiles, usage=now.usage, readings=now.readings)

    assert [AT_ONCE, AT_ONCE, 10, 0] == placed
    assert schedule(snapshot, requests).placements == {name: each.placement for name, each in now.instances.items()}
