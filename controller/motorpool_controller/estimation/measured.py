"""What instances were seen to hold: which measurements to keep, and what they change about an estimate.

A claim is never less than the measured peak and ``MARGIN_PERCENT``, and never less than the formula's weights and
cache: an engine that was idle while it was measured has its cache still to fill.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from motorpool_controller.domain.fleet import InstanceUsage, Node, NodeUsage, Profile
from motorpool_controller.domain.parameters import STATED, without_meanings
from motorpool_controller.domain.peak import Kind, Peak, rendered
from motorpool_controller.domain.placement import Confidence, Estimate
from motorpool_controller.domain.sizes import in_words
from motorpool_controller.domain.workload import DeploymentSpec, Instance, InstanceState, Parameter
from motorpool_formats.facts import ModelFacts

GROWTH_PERCENT = 5
"""A peak is written when it is this much above the one that is kept, so that a fleet at rest writes nothing (P7)."""

MARGIN_PERCENT = 5
"""What a peak may have grown since it was written."""

CPU = "cpu"
MEASURED_RULES = frozenset({"gguf", "fixed"})
"""Engines that take a fraction of a device hold that, whatever the model needs: their peaks tell nothing of it."""

ALLOCATED_AT_START = frozenset({"gguf"})
"""Engines that allocate all they need of a device before they answer: there a measurement may lower the claim."""


class Seen:
    """What the instances of a node were seen to hold at the most: a measurement that shows no more raises no peak."""

    def __init__(self) -> None:
        self._most: dict[str, tuple[Instance | None, InstanceUsage]] = {}

    def raised(self, usage: NodeUsage, instances: Mapping[str, Instance]) -> bool:
        """Return whether an instance holds more than before, or is another than it was; take in what it holds."""
        found = False
        for used in usage.instances:
            instance = instances.get(used.instance)
            known, most = self._most.get(used.instance, (None, used))
            if instance is known and known is not None and _within(used, most):
                continue
            self._most[used.instance] = (instance, used)
            found = True
        if len(self._most) > len(usage.instances):
            there = {used.instance for used in usage.instances}
            self._most = {name: most for name, most in self._most.items() if name in there}
        return found


def grown(
    node: Node, usage: NodeUsage, instances: Mapping[str, Instance], peaks: Mapping[str, Peak], now: datetime
) -> tuple[Peak, ...]:
    """Return the peaks that a measurement of a node adds or raises by so much that they are to be kept.

    More than there is was not measured: such a figure is passed over.
    """
    devices = {device.device_id: device.memory_bytes for device in node.devices}
    found: dict[str, Peak] = {}
    for used in usage.instances:
        instance = instances.get(used.instance)
        kind = None if instance is None else _kind_of(instance, node.name)
        if instance is None or kind is None:
            continue
        known = found.get(kind.name) or peaks.get(kind.name) or Peak(kind=kind, time=now)
        device = _device_of(instance)
        seen = Peak(
            kind=kind,
            time=now,
            memory_bytes=_possible(used.memory_bytes, node.host.memory_bytes),
            device_bytes=_possible(used.devices.get(device), devices.get(device)),
        )
        if _exceeds(seen.memory_bytes, known.memory_bytes) or _exceeds(seen.device_bytes, known.device_bytes):
            found[kind.name] = replace(
                seen,
                memory_bytes=_higher(seen.memory_bytes, known.memory_bytes),
                device_bytes=_higher(seen.device_bytes, known.device_bytes),
            )
    return tuple(found.values())


def peak_in_host(kinds: Sequence[Kind], peaks: Mapping[str, Peak]) -> int | None:
    """Return the highest host memory of instances of these kinds."""
    return _highest(peak.memory_bytes for peak in _of(kinds, peaks))


def peak_on_device(kinds: Sequence[Kind], peaks: Mapping[str, Peak]) -> int | None:
    """Return the highest device memory of instances of these kinds."""
    return _highest(peak.device_bytes for peak in _of(kinds, peaks))


def kinds_of(
    facts: ModelFacts,
    profile: Profile,
    parameters: Sequence[Parameter],
    spec: DeploymentSpec,
    *,
    slots: tuple[int | None, int | None],
    layers: int | None,
    in_host: bool,
) -> list[Kind]:
    """Return what an instance would be, one for each version and framework that it may get."""
    context_length, parallel = slots
    shown = rendered(without_meanings(parameters, profile.options, STATED))
    return [
        Kind(
            model_digest=_content(facts),
            backend=profile.backend,
            backend_version=version.version,
            framework=framework,
            context_length=context_length,
            parallel=parallel,
            layers=layers,
            parameters=shown,
        )
        for version in profile.versions
        if spec.backend_version in {"", version.version}
        for framework in version.frameworks
        if (framework == CPU) == in_host
    ]


def raised(estimate: Estimate, peak: int | None) -> Estimate:
    """Return an estimate that is no less than what was measured.

    For memory whose pages count only once they are touched, and whose mapped files never do.
    """
    if peak is None or estimate.upper is None:
        return estimate
    return _measured(estimate, estimate.upper, max(estimate.upper, with_margin(peak)), peak)


def corrected(estimate: Estimate, peak: int | None) -> Estimate:
    """Return an estimate that is what was measured, but no less than weights, cache and the engine's own footprint."""
    if peak is None or estimate.upper is None or estimate.lower is None:
        return estimate
    least = estimate.lower + (estimate.runtime or 0)
    return _measured(estimate, estimate.upper, max(least, with_margin(peak)), peak)


def with_margin(peak: int) -> int:
    """Return what is claimed for a measured peak."""
    return peak + -(-peak * MARGIN_PERCENT // 100)


def _measured(estimate: Estimate, formula: int, upper: int, peak: int) -> Estimate:
    difference = peak - formula
    beside = "over" if difference > 0 else "under"
    return replace(
        estimate,
        upper=upper,
        measured=peak,
        measured_difference=difference,
        confidence=Confidence.HIGH,
        provenance=(
            f"{estimate.provenance}; measured: {in_words(peak)} at the most, {in_words(abs(difference))} {beside} the"
            f" formula, claimed with {MARGIN_PERCENT} % more"
        ),
    )


def _kind_of(instance: Instance, node: str) -> Kind | None:
    """Return what an instance is; None where it cannot be compared: not ready, or divided among devices or nodes."""
    placement, assignment = instance.placement, instance.assignment
    if instance.state is not InstanceState.RUNNING or placement is None or assignment is None:
        return None
    members = placement.members
    if assignment.facts is None or len(members) != 1 or members[0].node != node or len(members[0].claim.devices) > 1:
        return None
    return Kind(
        model_digest=_content(assignment.facts),
        # As its deployment knows it: a declared one is run by the plugin of another.
        backend=placement.backend,
        backend_version=assignment.backend_version,
        framework=assignment.framework,
        context_length=assignment.context_length,
        parallel=assignment.parallel,
        layers=assignment.offloaded_layers,
        parameters=rendered(assignment.parameters),
    )


def _content(facts: ModelFacts) -> str:
    """Return what tells models apart: the digest has nothing of the files beside a model, which are loaded with it."""
    return "+".join((facts.digest, *(f"{each.file}:{each.file_bytes}" for each in facts.companions)))


def _device_of(instance: Instance) -> str:
    """Return the id of the one device that an instance is on; empty for host memory."""
    claims = () if instance.placement is None else instance.placement.members[0].claim.devices
    return claims[0].device_id if claims else ""


def _possible(seen: int | None, there_is: int | None) -> int | None:
    return None if seen is None or (there_is is not None and seen > there_is) else seen


def _of(kinds: Sequence[Kind], peaks: Mapping[str, Peak]) -> Iterator[Peak]:
    for kind in kinds:
        peak = peaks.get(kind.name)
        if peak is not None:
            yield peak


def _within(used: InstanceUsage, most: InstanceUsage) -> bool:
    if (used.memory_bytes or 0) > (most.memory_bytes or 0):
        return False
    return all(size <= most.devices.get(device, 0) for device, size in used.devices.items())


def _exceeds(seen: int | None, known: int | None) -> bool:
    if not seen:
        return False
    return known is None or seen * 100 > known * (100 + GROWTH_PERCENT)


def _higher(one: int | None, other: int | None) -> int | None:
    return _highest((one, other))


def _highest(sizes: Iterator[int | None] | tuple[int | None, ...]) -> int | None:
    return max((size for size in sizes if size is not None), default=None)
