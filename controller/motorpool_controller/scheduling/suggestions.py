"""What would make a deployment fit. Nothing is said that was not tried: each answer is a decision that places it all.

What is tried is bounded: fractions at which a device, or as many as are needed, would just do; contexts by halving;
nodes like those there are, by halving, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from motorpool_controller.domain.fleet import Node, Option
from motorpool_controller.domain.parameters import integer_of, replaced
from motorpool_controller.domain.placement import Placement, Remedy, Suggestion
from motorpool_controller.domain.sizes import in_words
from motorpool_controller.domain.workload import DeploymentSpec
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.eligibility import eligible
from motorpool_controller.scheduling.scheduler import placements
from motorpool_controller.scheduling.selectors.supply import Fleet
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from motorpool_controller.scheduling.spare import Kind, kinds_of, present, thresholds
from motorpool_controller.scheduling.terms import Terms
from motorpool_controller.scheduling.whatif import names_like, with_more

MOST_INSTANCES = 64
"""Of more at a time nothing is suggested: each try places them all."""

MOST_FRACTION = 950
"""In thousandths: more of a device no engine should be told to take, as its library and driver live there, too."""

LEAST_FRACTION, FRACTION_STEP = 50, 50
MOST_FRACTIONS = 40

LEAST_CONTEXT, CONTEXT_STEP = 1_024, 256
"""In tokens: a smaller context is of no use; what is between is tried in these steps."""

MOST_NODES = 64
MOST_KINDS = 3

MOST_DECISIONS = 1 + MOST_FRACTIONS + 6 + 25 + MOST_KINDS * 20
"""Decisions made for a deployment at the most: as it is; fractions, and closer; contexts; kinds of nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What would make it fit, and how many decisions it took to tell; nothing where it fits, or nothing would help."""

    suggestions: tuple[Suggestion, ...] = ()
    decisions: int = 0


def advised(snapshot: Snapshot, requests: Sequence[Request], columns: Columns | None = None) -> Advice:
    """Return what would make all instances of one deployment fit; the requests have one spec.

    ``columns`` are the snapshot's, where they are kept; they are as before afterwards.
    """
    if not requests or len(requests) > MOST_INSTANCES:
        return Advice()
    trial = _Trial(snapshot, requests, Columns.of(snapshot) if columns is None else columns)
    request = requests[0]
    found = eligible(trial.columns, trial.snapshot, request)
    fleet = Fleet(trial.columns, request, found)
    terms = [each for each in found.terms if not each.demand.faults]
    if not terms or trial.fits():
        return Advice(decisions=trial.decisions)
    # Options and kinds are read off the fleet as it is, before any try has changed it.
    fractions = [(each, thresholds(fleet, each.demand.fraction, len(requests))) for each in _by_option(terms)]
    kinds = [] if request.spec.devices else kinds_of(fleet)[:MOST_KINDS]
    suggestions = [
        *_fraction(trial, fractions),
        *_context(trial, terms[0]),
        *(suggestion for kind in kinds for suggestion in _devices(trial, fleet, kind)),
    ]
    return Advice(suggestions=tuple(suggestions), decisions=trial.decisions)


class _Trial:
    """Decisions on a fleet, and on the same with more nodes."""

    def __init__(self, snapshot: Snapshot, requests: Sequence[Request], columns: Columns) -> None:
        self.snapshot = snapshot
        self.requests = requests
        self.columns = columns
        self.decisions = 0

    @property
    def spec(self) -> DeploymentSpec:
        """Return the wish as it is."""
        return self.requests[0].spec

    def fits(self, spec: DeploymentSpec | None = None) -> bool:
        """Return whether all instances have a place, with another spec if one is given."""
        requests = self.requests if spec is None else [replace(each, spec=spec) for each in self.requests]
        self.decisions += 1
        return len(placements(self.snapshot, requests, self.columns)) == len(requests)

    def placed(self, like: Node, nodes: int) -> Mapping[str, Placement]:
        """Return the placements on the fleet with so many nodes more; nothing if not all have one."""
        names = names_like(self.snapshot, like, nodes)
        more = with_more(self.snapshot, like, names)
        self.decisions += 1
        with _thought_in(self.columns, more, names):
            found = placements(more, self.requests, self.columns)
        return found if len(found) == len(self.requests) else {}


@contextmanager
def _thought_in(columns: Columns, more: Snapshot, names: Sequence[str]) -> Iterator[None]:
    """Have the columns stand for a fleet with these nodes more for a while: to follow it whole takes far longer."""
    added = frozenset(names)
    for name in names:
        columns.know(more.nodes[name])
        columns.measure(name, more.usage[name])
    try:
        for (name, path), reading in more.readings.items():
            if name in added:
                columns.read(name, path, reading)
        yield
    finally:
        for name in names:
            columns.forget(name)
            columns.measure(name, None)


def _by_option(terms: Sequence[Terms]) -> list[Terms]:
    """Return one of the terms for each option by which a fraction is told."""
    return list({each.demand.fraction: each for each in reversed(terms) if each.demand.fraction}.values())


def _fraction(trial: _Trial, fractions: Sequence[tuple[Terms, Sequence[int]]]) -> Iterator[Suggestion]:
    """Yield the largest fraction with which it fits."""
    for terms, just in fractions:
        option, options = terms.demand.fraction, terms.profile.options
        if not just:
            continue

        def fits(thousandths: int, option: str = option, options: Sequence[Option] = options) -> bool:
            return trial.fits(_with_option(trial.spec, options, option, f"{thousandths / 1000:g}"))

        grid = range(LEAST_FRACTION, MOST_FRACTION + 1, FRACTION_STEP)
        tried = sorted({*grid, *(each for each in just if LEAST_FRACTION <= each <= MOST_FRACTION)}, reverse=True)
        tried = tried[:MOST_FRACTIONS]
        best = next((number for number, each in enumerate(tried) if fits(each)), None)
        if best is None:
            continue
        above = tried[best - 1] if best else tried[best] + 1
        largest = _most(tried[best], above - 1, fits)
        value = f"{largest / 1000:g}"
        yield Suggestion(
            remedy=Remedy.FRACTION,
            option=option,
            value=value,
            message=(
                f"{_all(trial)} with {option} {value}, the largest fraction that does: so much of each device is taken,"
                " and what the model does not need of it is its cache."
            ),
        )
        return


def _context(trial: _Trial, terms: Terms) -> Iterator[Suggestion]:
    """Yield the largest context with which it fits, if it is the context that is too large."""
    option = terms.context_option
    given = integer_of(terms.parameters, terms.profile.options, "context_length") or 0
    most = terms.needs.context_length or given or (terms.facts.context_length if terms.facts is not None else None) or 0
    if not option or most <= LEAST_CONTEXT:
        return
    options = terms.profile.options

    def fits(steps: int) -> bool:
        return trial.fits(_with_option(trial.spec, options, option, str(steps * CONTEXT_STEP)))

    least = LEAST_CONTEXT // CONTEXT_STEP
    if not fits(least):
        return
    largest = _most(least, (most - 1) // CONTEXT_STEP, fits) * CONTEXT_STEP
    yield Suggestion(
        remedy=Remedy.CONTEXT,
        option=option,
        value=str(largest),
        message=(
            f"{_all(trial)} with {option} {largest}, the largest context that does (in steps of {CONTEXT_STEP} tokens;"
            f" now {most:,})."
        ),
    )


def _devices(trial: _Trial, fleet: Fleet, kind: Kind) -> Iterator[Suggestion]:
    """Yield how many devices of a kind are missing: free ones together on a node, else so many nodes of them."""
    whole = kind.thinned(len(kind.devices))
    if kind.devices and trial.placed(whole, 1):
        least = _least(1, len(kind.devices), lambda count: bool(trial.placed(kind.thinned(count), 1)))
        yield _free_devices(trial, fleet, kind, least)
        return
    nodes = 1 if not kind.devices else 2
    while nodes <= MOST_NODES and not trial.placed(whole, nodes):
        nodes *= 2
    if nodes > MOST_NODES:
        return
    nodes = _least(nodes // 2 + 1, nodes, lambda count: bool(trial.placed(whole, count)))
    like = kind.node.name
    what = (
        f"each with {_words(kind, len(kind.devices))} that nothing else uses"
        if kind.devices
        else f"each with {in_words(kind.node.host.memory_bytes or 0)} of host memory that nothing else uses"
    )
    yield Suggestion(
        remedy=Remedy.DEVICES,
        framework=kind.framework,
        device_memory_bytes=kind.total or None,
        devices=len(kind.devices),
        nodes=nodes,
        like=like,
        message=f"{_all(trial)} with {nodes} more {'node' if nodes == 1 else 'nodes'} like {like}, {what}.",
    )


def _free_devices(trial: _Trial, fleet: Fleet, kind: Kind, count: int) -> Suggestion:
    placed = trial.placed(kind.thinned(count), 1)
    here = present(fleet, kind, placed, trial.snapshot.nodes)
    node = " on one node" if count > 1 else ""
    if any(len(placement.members) > 1 for placement in placed.values()):
        node = " on another node, together with what others have left,"
    return Suggestion(
        remedy=Remedy.DEVICES,
        framework=kind.framework,
        device_memory_bytes=kind.total or None,
        devices=count,
        present=here,
        nodes=1,
        like=kind.node.name,
        message=(
            f"{_all(trial)} with {_words(kind, count)}{node} that nothing else uses, like those of {kind.node.name};"
            f" the most that a node has left of these now is {here}."
        ),
    )


def _with_option(spec: DeploymentSpec, options: Sequence[Option], option: str, value: str) -> DeploymentSpec:
    return replace(spec, parameters=replaced(spec.parameters, options, option, value))


def _all(trial: _Trial) -> str:
    count = len(trial.requests)
    return "It fits" if count == 1 else f"All {count} instances fit"


def _words(kind: Kind, count: int) -> str:
    size = f" of {in_words(kind.total)}" if kind.total else ""
    return f"{count} {kind.framework} {'device' if count == 1 else 'devices'}{size}"


def _most(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return a number from ``low``, of which it holds, to ``high``: the last before it holds no more."""
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _least(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the first number from ``low`` to ``high``, of which it holds, of which it holds."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
