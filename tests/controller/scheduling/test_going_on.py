"""Plans of many instances of one deployment, which keep up what they found for the one before."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import Instance, InstanceState, Strategy
from motorpool_controller.scheduling.scheduler import schedule
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from tests.controller.fleets import placed
from tests.controller.scheduling.accelerators import VENDORS, cards, fleet, machine, wish


@st.composite
def fleets(draw: st.DrawFn) -> Snapshot:
    """Nodes of a few kinds, enough of each that one more or less changes nothing for the others."""
    kinds = draw(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([24, 80]), st.sampled_from(sorted(VENDORS)))))
    nodes = [
        machine(f"n{number:02}", cards(*kind), agent_labels={"kind": str(index)})
        for index, kind in enumerate([*kinds[:2], (2, 80, "cuda")])
        for number in range(index, 3 * draw(st.integers(1, 5)), 3)
    ]
    instances: list[Instance] = []
    for node in nodes:
        for card in node.devices[: draw(st.integers(0, 1))]:
            standing = placed(
                f"i{len(instances)}", on=node.name[6:], memory=draw(st.integers(1, 40)) * GIB, device_id=card.device_id
            )
            deployment = draw(st.sampled_from(["deployments/a", "deployments/x"]))
            instances.append(replace(standing, deployment=deployment, state=InstanceState.SCHEDULED))
    return fleet(*nodes, instances=instances)


@st.composite
def requests(draw: st.DrawFn) -> list[Request]:
    """Some instances of one deployment, then of another, then of the first again."""
    wished = [
        wish(
            draw(st.sampled_from([2, 10, 30])),
            backend=draw(st.sampled_from(["fixed", "fixed", "vllm"])),
            strategy=draw(st.sampled_from([Strategy.SPREAD, Strategy.SPREAD, Strategy.BINPACK])),
            match_labels=draw(st.sampled_from([{}, {}, {"kind": "0"}])),
        )
        for _ in range(2)
    ]
    order = [number for number in (0, 1, 0) for _ in range(draw(st.integers(0, 20)))]
    return [
        replace(wished[number], name=f"instances/{place}", deployment=f"deployments/{'ab'[number]}")
        for place, number in enumerate(order)
    ]


@given(fleets(), requests())
def test_a_search_that_goes_on_finds_what_one_made_anew_finds(snapshot: Snapshot, wanted: list[Request]) -> None:
    """
    Of each instance is said what a search says that looks at the whole fleet for it: place, score and why not.
    """
    anew = schedule(snapshot, wanted).verdicts
    going_on = schedule(snapshot, wanted, frugal=True).verdicts

    assert {name: replace(each, candidates=each.candidates[:1]) for name, each in anew.items()} == going_on
