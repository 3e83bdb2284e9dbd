"""How many instances one decision places."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from motorpool_controller.domain.workload import Deployment, Instance
from motorpool_controller.reconcile.agenda import Agenda, Changes
from motorpool_controller.reconcile.decide import decide
from motorpool_controller.reconcile.draft import AT_ONCE, Draft
from motorpool_controller.scheduling.scheduler import schedule
from motorpool_controller.scheduling.snapshot import Request, Snapshot, Touched
from tests.controller.fleets import NOW, applied, deployment, ids, node, world

READ = Counter[str]()
"""How often something of an instance was read that stands in the records, by its full name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(Instance):
    """An instance that notes when something of it is read."""

    def __getattribute__(self, name: str) -> object:
        if name != "name" and not name.startswith("__"):
            READ[object.__getattribute__(self, "name")] += 1
        return object.__getattribute__(self, name)


def test_many_instances_are_placed_by_several_decisions() -> None:
    """
    A decision makes and places some, has the next one made at once, and all of them come to the same as one for all.
    """
    wish = deployment("x", replicas=2 * AT_ONCE + 10)
    now = replace(world([node(f"n{number:03}") for number in range(100)], [wish]), agenda=Agenda())
    fresh, placed, order = ids(), list[int](), list[str]()
    while not placed or placed[-1]:
        decision = decide(now, NOW, fresh)
        now = applied(now, decision)
        order += sorted(each.name for each in decision.put_instances)
        placed.append(len(decision.put_instances))
        assert all(each.placement is not None for each in now.instances.values())
        rows = Touched(instances=frozenset(each.name for each in decision.put_instances))
        now = replace(now, changes=Changes(rows=rows, deployments=frozenset({wish.name}), leases=False))
        assert (decision.wake_at == NOW) == (placed[-1] == AT_ONCE)
    requests = [Request(name=name, deployment=wish.name, spec=wish.spec) for name in order]
    snapshot = Snapshot(nodes=now.nodes, profiles=now.profiles, usage=now.usage, readings=now.readings)

    assert [AT_ONCE, AT_ONCE, 10, 0] == placed
    assert schedule(snapshot, requests).placements == {name: each.placement for name, each in now.instances.items()}


def test_a_small_deployment_does_not_wait_for_a_large_one() -> None:
    """
    Of deployments that wish for more than a decision makes, those come first that got none in the one before.
    """
    wishes = [
        deployment("a", replicas=10 * AT_ONCE),
        deployment("b", replicas=3),
        deployment("c", replicas=2 * AT_ONCE),
    ]
    now = replace(world([node("n")], wishes), agenda=Agenda())
    fresh, made = ids(), list[Counter[str]]()
    for _ in range(4):
        decision = decide(now, NOW, fresh)
        assert decision.wake_at == NOW
        made.append(Counter(each.deployment for each in decision.put_instances if each.name not in now.instances))
        now = applied(now, decision)
        rows = Touched(instances=frozenset(each.name for each in decision.put_instances))
        now = replace(now, changes=Changes(rows=rows, leases=False))

    a, b, c = (wish.name for wish in wishes)
    assert [{a: AT_ONCE}, {b: 3, c: AT_ONCE - 3}, {a: AT_ONCE}, {c: AT_ONCE}] == made


def test_making_more_looks_at_none_of_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A deployment that merely lacks instances is counted, not gone through: each decision costs what it makes.
    """
    gone_through = list[str]()
    live = Draft.live

    def noted(draft: Draft, of: Deployment) -> list[Instance]:
        gone_through.append(of.name)
        return live(draft, of)

    monkeypatch.setattr(Draft, "live", noted)
    wish = deployment("x", replicas=3 * AT_ONCE)
    now = replace(world([], [wish]), agenda=Agenda())
    fresh = ids()
    while (decision := decide(now, NOW, fresh)).put_instances:
        now = applied(now, decision)
        rows = Touched(instances=frozenset(each.name for each in decision.put_instances))
        now = replace(now, changes=Changes(rows=rows, leases=False))

    assert len(now.instances) == wish.spec.replicas
    assert not gone_through


def test_all_are_made_though_none_can_be_placed() -> None:
    """
    Where there is no room for any, as many are made as are wished for, by several decisions, and the last one rests.
    """
    wish = deployment("x", replicas=2 * AT_ONCE + 1)
    now = replace(world([], [wish]), agenda=Agenda())
    fresh, decisions = ids(), 0
    while (decision := decide(now, NOW, fresh)).put_instances:
        decisions += 1
        now = applied(now, decision)
        rows = Touched(instances=frozenset(each.name for each in decision.put_instances))
        now = replace(now, changes=Changes(rows=rows, leases=False))

    assert len(now.instances) == wish.spec.replicas
    assert decisions == 3
    assert decision.wake_at != NOW


def test_those_that_wait_longer_are_looked_at_no_more_often() -> None:
    """
    However many wait, each is looked at as often as one of few: not by the decisions that place those before it.
    """
    few, many = _reads(3 * AT_ONCE), _reads(6 * AT_ONCE)

    assert max(few.values()) == max(many.values())


def _reads(count: int) -> dict[str, int]:
    """Place so many instances of two deployments, and return how often each was looked at."""
    wishes = [deployment(name, replicas=count // 2) for name in "xy"]
    instances = [
        Counted(
            name=f"instances/{number:05}",
            uid=f"{number:05}",
            deployment=wishes[number % 2].name,
            deployment_generation=1,
            template_generation=wishes[0].template_generation,
            create_time=NOW - timedelta(seconds=number % 7),
            state_time=NOW,
        )
        for number in range(count)
    ]
    start = world([node(f"n{number:03}") for number in range(400)], wishes, instances)
    now = replace(start, agenda=Agenda())
    READ.clear()
    while any(object.__getattribute__(each, "placement") is None for each in now.instances.values()):
        decision = decide(now, NOW, ids())
        now = applied(now, decision)
        rows = Touched(instances=frozenset(each.name for each in decision.put_instances))
        now = replace(now, changes=Changes(rows=rows, leases=False))
        assert decision.put_instances
    return dict(READ)
