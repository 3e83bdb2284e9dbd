"""Requests that few nodes of a fleet may run: the others are not looked at, and change nothing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.fleet import Node
from motorpool_controller.domain.workload import Strategy
from motorpool_controller.scheduling.scheduler import Verdict, explain
from tests.controller.fleets import placed
from tests.controller.scheduling.accelerators import cards, fleet, machine, wish

POOL = {"pool": "here"}


@st.composite
def machines(draw: st.DrawFn) -> list[Node]:
    made = []
    for number in range(draw(st.integers(2, 3))):
        devices = cards(
            draw(st.integers(1, 4)), draw(st.sampled_from([24, 80])), draw(st.sampled_from(["cuda", "rocm"]))
        )
        made.append(machine(f"m{number}", devices))
    return made


def told(verdict: Verdict) -> object:
    """What is said of places, and of those of the pool."""
    rows = [row for row in verdict.refusals if row.reason != "LABELS_DIFFER"]
    return verdict.placement, verdict.candidates, verdict.places, rows


@given(
    machines(),
    st.sampled_from([10, 60, 100, 300, 900]),
    st.sampled_from(["vllm", "sglang", "gguf"]),
    st.sampled_from(list(Strategy)),
    st.booleans(),
)
def test_other_nodes_change_nothing(
    pool: list[Node], gib: int, backend: str, strategy: Strategy, divided: bool
) -> None:
    """
    What is decided for the nodes of a pool, and why, is the same where ten times as many others stand beside them.
    """
    here = [replace(each, agent_labels=POOL) for each in pool]
    others = [machine(f"{letter}{number}", each.devices) for letter in "az" for number in range(6) for each in pool]
    taken = [
        placed(f"p-{number}", on=each.name.removeprefix("nodes/"), device_id="GPU-0", memory=9 << 30)
        for number, each in enumerate((*here[:1], *others))
    ]
    parameters = ["--tensor-parallel-size=3"] if divided and backend == "vllm" else []
    request = wish(gib, *parameters, backend=backend, match_labels=POOL, strategy=strategy)

    alone = explain(fleet(*here, instances=taken[:1]), request)
    among = explain(fleet(*others, *here, instances=taken), request)

    assert told(alone) == told(among)
