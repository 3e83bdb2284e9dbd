"""Scheduling in the core: what one decision costs in fleets of 10 to 10,000 nodes, and how many are placed a second.

Fleets of eight devices a node, of three vendors, half of the devices taken. Between decisions an instance ends and
another begins elsewhere; that the columns follow is part of the time. Plans are compared with those of the slow
selector of the tests: of each size a sample (``CHECKED``), as it takes seconds for one; a plan that differs ends the
benchmark.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.figures import BenchmarkError, Figure, median
from motorpool_controller.domain.fleet import Device
from motorpool_controller.domain.placement import Placement
from motorpool_controller.domain.workload import Instance
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.scheduler import Verdict, schedule
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from motorpool_formats.facts import ModelFacts
from tests.controller.fleets import placed
from tests.controller.scheduling.accelerators import LLAMA_70B, QWEN3_32B, VENDORS, cards, fleet, machine, wish
from tests.controller.scheduling.reference import Reference, as_place

SIZES = (10, 100, 1_000, 10_000)
DEVICES = 8
DECISIONS = {10: 200, 100: 200, 1_000: 200, 10_000: 100}
CHECKED = {10: 20, 100: 10, 1_000: 3, 10_000: 1}
CHECKED_LAYERS = {10: 5, 100: 1}
"""The slow selector tries every number of layers on every node: minutes for a thousand."""

PLACEMENT_NODES, REPLICAS = 5_000, 4_000
NANOSECONDS_PER_MS = 1e6
NANOSECONDS_PER_SECOND = 1e9


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked of a fleet: key, meaning, request, size of the cards in GiB, the model, aims in ms by nodes."""

    key: str
    meaning: str
    request: Request
    gib: int
    facts: ModelFacts
    aims: dict[int, float]


CASES = (
    Case("fraction", "vLLM, 60 GiB: one device", wish(60), 80, QWEN3_32B, {1_000: 0.3, 10_000: 1.0}),
    Case("distributed", "vLLM, 300 GiB: several nodes", wish(300), 80, QWEN3_32B, {10_000: 5.0}),
    Case(
        "gguf_partial",
        "GGUF, 40 GiB of 80 layers: as many as fit",
        wish(0, backend="gguf"),
        8,
        LLAMA_70B,
        {1_000: 10.0},
    ),
)


class Changing:
    """A half-full fleet whose claims change."""

    def __init__(self, size: int, gib: int, facts: ModelFacts) -> None:
        kinds = sorted(VENDORS)
        nodes = [machine(f"n{number:05}", cards(DEVICES, gib, kinds[number % len(kinds)])) for number in range(size)]
        self._chance = random.Random(7)
        self._taken = [(node.name, device) for node in nodes for device in node.devices[::2]]
        self._free = [(node.name, device) for node in nodes for device in node.devices[1::2]]
        instances = [standing(number, *place) for number, place in enumerate(self._taken)]
        snapshot = fleet(*nodes, facts=facts, instances=instances)
        self.columns = Columns.of(snapshot)
        self._standing = dict(snapshot.instances)
        self.snapshot: Snapshot = replace(snapshot, instances=self._standing)

    def change(self) -> tuple[Instance, Instance]:
        """Have one instance end, and one like it begin on a free device; return both."""
        number = self._chance.randrange(len(self._taken))
        other = self._chance.randrange(len(self._free))
        ended = self._standing[f"instances/s{number:05}"]
        self._taken[number], self._free[other] = self._free[other], self._taken[number]
        begun = standing(number, *self._taken[number])
        self._standing[begun.name] = begun
        return ended, begun


def standing(number: int, node: str, device: Device) -> Instance:
    """Return an instance that holds nine tenths of a device."""
    size_bytes = int((device.memory_bytes or 0) * 0.9)
    made = placed(f"s{number:05}", on=node.removeprefix("nodes/"), memory=size_bytes, device_id=device.device_id)
    return replace(made, deployment=f"deployments/d{number % 97}")


def measure() -> Sequence[Figure]:
    """Measure decisions and placements."""
    figures = []
    for case in CASES:
        for size in SIZES:
            print(f"{case.key}: {size} nodes", file=sys.stderr, flush=True)
            value = round(decisions(case, size), 3)
            meaning = f"{case.meaning}; {size:,} nodes, p50"
            key = f"{case.key}_decision_{size}_nodes_p50_ms"
            figures.append(Figure(key=key, value=value, meaning=meaning, aim=case.aims.get(size), bar="ms"))
        growth = figures[-1].value / figures[-len(SIZES)].value
        figures.append(
            Figure(
                key=f"{case.key}_decision_growth_ratio",
                value=round(growth, 2),
                meaning=f"{case.meaning}; {SIZES[-1]:,} nodes over {SIZES[0]}: the fleet grows 1,000 times",
            )
        )
    print(f"placements: {PLACEMENT_NODES} nodes", file=sys.stderr, flush=True)
    rate = placements()
    figures.append(
        Figure(
            key="placements_per_second_5000_nodes",
            value=round(rate),
            meaning=f"{REPLICAS:,} replicas of one deployment in one plan",
            least=3_750,
        )
    )
    return figures


def decisions(case: Case, size: int) -> float:
    """Return the p50 of a decision in milliseconds, that of following the change before it included."""
    changing = Changing(size, case.gib, case.facts)
    schedule(changing.snapshot, [case.request], changing.columns)
    times = []
    for number in range(DECISIONS[size]):
        ended, begun = changing.change()
        before = time.perf_counter_ns()
        changing.columns.leave(ended)
        changing.columns.stand(begun)
        plan = schedule(changing.snapshot, [case.request], changing.columns)
        times.append(time.perf_counter_ns() - before)
        checked = CHECKED_LAYERS if case.facts.format == "gguf" else CHECKED
        if number < checked.get(size, 0):
            compare(changing.snapshot, case.request, plan.verdicts[case.request.name])
    return median(times) / NANOSECONDS_PER_MS


def placements() -> float:
    """Return how many instances of a deployment are placed a second in one plan."""
    changing = Changing(PLACEMENT_NODES, 80, QWEN3_32B)
    first = wish(60)
    requests = [
        Request(name=f"instances/chat-{n}", deployment=first.deployment, spec=first.spec) for n in range(REPLICAS)
    ]
    schedule(changing.snapshot, requests[:1], changing.columns)
    before = time.perf_counter_ns()
    plan = schedule(changing.snapshot, requests, changing.columns)
    seconds = (time.perf_counter_ns() - before) / NANOSECONDS_PER_SECOND
    if len(plan.placements) != REPLICAS:
        raise BenchmarkError(f"{len(plan.placements)} of {REPLICAS} were placed")
    last = replace(changing.snapshot, instances={**changing.snapshot.instances, **booked(plan.placements, requests)})
    verdict = schedule(last, [replace(first, name="instances/one-more")]).verdicts["instances/one-more"]
    compare(last, replace(first, name="instances/one-more"), verdict)
    return REPLICAS / seconds


def booked(placements_: Mapping[str, Placement], requests: Sequence[Request]) -> dict[str, Instance]:
    """Return the placements of a plan as instances."""
    made = placed("made")
    return {
        request.name: replace(
            made, name=request.name, deployment=request.deployment, placement=placements_[request.name]
        )
        for request in requests
    }


def compare(snapshot: Snapshot, request: Request, verdict: Verdict) -> None:
    """Raise if a verdict is not the slow selector's."""
    places = Reference(snapshot, request).places()
    if verdict.places != len(places):
        raise BenchmarkError(f"{verdict.places} places were found, and there are {len(places)}")
    if verdict.placement is None:
        return
    best = min(places, key=lambda place: (-places[place], place.parts[0][0], [part[0] for part in place.parts[0][2]]))
    if as_place(verdict.placement) != best or verdict.placement.score != places[best]:
        raise BenchmarkError(f"{request.name} was placed on {as_place(verdict.placement)}, and {best} is best")
