"""Nodes by what decisions look for."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.fleet import Cordon, Drain, Node, NodeState
from motorpool_controller.domain.maintenance import WHOLE, cordoned
from motorpool_controller.reconcile.roll import Roll
from tests.controller.fleets import NOW, node

STATES = (NodeState.READY, NodeState.UNREACHABLE, NodeState.ENROLLED)


@st.composite
def rows(draw: st.DrawFn, name: str) -> Node | None:
    if not draw(st.integers(0, 4)):
        return None
    since = draw(st.sampled_from([None, NOW, NOW - timedelta(seconds=60), NOW - timedelta(seconds=200)]))
    made = node(name, state=draw(st.sampled_from(STATES)), state_time=since)
    return cordoned(made, WHOLE, Cordon(time=NOW, drain=draw(st.sampled_from([None, Drain(time=NOW)]))))


@given(st.data())
def test_a_roll_is_what_looking_at_all_nodes_finds(data: st.DataObject) -> None:
    """
    Whatever becomes of nodes, and in whichever order: the roll names those that a look at all of them would.
    """
    roll, fleet = Roll(), dict[str, Node]()
    for name in data.draw(st.lists(st.sampled_from("abc"), max_size=12), label="names"):
        row = data.draw(rows(name), label="node")
        fleet.pop(f"nodes/{name}", None)
        if row is not None:
            fleet[row.name] = row
        roll.take(f"nodes/{name}", row)

    assert {each.name for each in fleet.values() if each.state is not NodeState.READY} == roll.unready
    assert {each.name for each in fleet.values() if each.state is NodeState.UNREACHABLE} == roll.lost
    assert {each.name for each in fleet.values() if each.state is NodeState.ENROLLED} == roll.enrolled
    assert {each.name for each in fleet.values() if each.cordons[WHOLE].drain is not None} == roll.draining
    since = NOW - timedelta(seconds=90)
    ready = [each for each in fleet.values() if each.state is NodeState.READY and each.state_time is not None]
    assert {each.name for each in ready if (each.state_time or NOW) > since} == set(roll.ready_since(since))
