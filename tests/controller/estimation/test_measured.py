"""What instances were seen to hold, and what it changes about estimates."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from motorpool_controller.domain.fleet import InstanceUsage, Node, NodeUsage
from motorpool_controller.domain.parameters import parse
from motorpool_controller.domain.peak import Kind, Peak, rendered
from motorpool_controller.domain.placement import Confidence
from motorpool_controller.domain.sizes import GIB, MIB
from motorpool_controller.domain.workload import Instance, InstanceState, Parameter
from motorpool_controller.estimation.measured import Seen, grown, with_margin
from motorpool_controller.estimation.needs import Needs, needs_of
from motorpool_formats.facts import Companion
from tests.controller.fleets import NOW, OPTIONS, SMOLLM2, device, node, placed, profile, spec

A = node("a", memory=64 * GIB, devices=[device(memory=8 * GIB)])
LATER = NOW + timedelta(minutes=1)


def instance(*, on_device: bool = False, **changes: Any) -> Instance:
    """A running SmolLM2 in host memory, or wholly on a device, as scheduling places it."""
    made = placed(device_id="GPU-0" if on_device else "")
    assert made.assignment is not None
    assignment = replace(
        made.assignment,
        facts=SMOLLM2,
        framework="cuda" if on_device else "cpu",
        context_length=8192,
        parallel=1,
        offloaded_layers=31 if on_device else 0,
    )
    return replace(made, assignment=assignment, **changes)


def usage(memory: int | None = None, on_device: int | None = None, name: str = "instances/chat-1") -> NodeUsage:
    devices = {} if on_device is None else {"GPU-0": on_device}
    return NodeUsage(measure_time=NOW, instances=(InstanceUsage(instance=name, memory_bytes=memory, devices=devices),))


def learnt(
    *measurements: NodeUsage, of: Instance | None = None, on: Node = A, peaks: dict[str, Peak] | None = None
) -> dict[str, Peak]:
    known = dict(peaks or {})
    found = of or instance()
    for measured in measurements:
        known |= {peak.kind.name: peak for peak in grown(on, measured, {found.name: found}, known, LATER)}
    return known


def needs(peaks: dict[str, Peak], *arguments: str, rules: str = "gguf", **wish: Any) -> Needs:
    return needs_of(SMOLLM2, profile(rules=rules), parse(arguments, OPTIONS), spec(**wish), peaks)


def test_a_peak_is_kept_and_raised_by_more_than_five_percent() -> None:
    """
    The first figure is kept, a lower one and one that is a little higher are not: a fleet at rest writes nothing.
    """
    first = learnt(usage(1000))
    (peak,) = first.values()

    assert (peak.memory_bytes, peak.device_bytes) == (1000, None)
    assert learnt(usage(900), usage(1050), peaks=first) == first
    assert [each.memory_bytes for each in learnt(usage(1051), peaks=first).values()] == [1051]


def test_host_and_device_peak_apart() -> None:
    """
    One of the two may rise while the other falls: each keeps its highest.
    """
    of = instance(on_device=True)
    (peak,) = learnt(usage(1000, 5000), usage(500, 9000), of=of).values()

    assert (peak.memory_bytes, peak.device_bytes) == (1000, 9000)


@pytest.mark.parametrize("state", [state for state in InstanceState if state is not InstanceState.RUNNING])
def test_only_what_serves_is_measured(state: InstanceState) -> None:
    """
    An instance that loads or stops holds less, or for another reason.
    """
    assert learnt(usage(1000), of=instance(state=state)) == {}


def test_what_cannot_be_is_passed_over() -> None:
    """
    More than the node or the device has, nothing, and what belongs to no instance of the node teach nothing.
    """
    of = instance(on_device=True)

    assert learnt(usage(65 * GIB, 9 * GIB), of=of) == {}
    assert learnt(usage(0), usage(None), usage(1000, name="instances/other")) == {}
    assert learnt(usage(1000), on=node("b")) == {}


def test_what_was_divided_teaches_nothing_of_a_whole() -> None:
    """
    An instance on two devices is of no kind that an estimate could use.
    """
    of = instance(on_device=True)
    assert of.placement is not None
    (member,) = of.placement.members
    claim = replace(member.claim, devices=member.claim.devices * 2)
    divided = replace(of, placement=replace(of.placement, members=(replace(member, claim=claim),)))

    assert learnt(usage(1000, 1000), of=divided) == {}


def test_kinds_differ_by_all_that_matters() -> None:
    """
    Model, backend, version, framework, context, slots, layers and parameters make a kind; the parameters' order not.
    """
    kind = Kind(
        model_digest="m",
        backend="b",
        backend_version="1",
        framework="cpu",
        context_length=1,
        parallel=1,
        layers=0,
        parameters=rendered([Parameter(option="x"), Parameter(option="y", values=("2",))]),
    )
    others = [
        replace(kind, model_digest="n"),
        replace(kind, backend="c"),
        replace(kind, backend_version="2"),
        replace(kind, framework="cuda"),
        replace(kind, context_length=2),
        replace(kind, parallel=2),
        replace(kind, layers=None),
        replace(kind, parameters=()),
    ]

    assert len({each.name for each in [kind, *others]}) == 9
    assert kind.parameters == rendered([Parameter(option="y", values=("2",)), Parameter(option="x")])


def test_host_memory_is_raised_and_never_lowered() -> None:
    """
    A peak above the formula is claimed with five percent more; one below it leaves the claim: an idle engine has not
    touched all its pages, and mapped weights never count.
    """
    formula = needs({}).host
    assert formula.upper is not None
    high, low = 2 * formula.upper, formula.upper // 2
    over, under = needs(learnt(usage(high))).host, needs(learnt(usage(low))).host

    assert over.upper == with_margin(high)
    assert (over.measured, over.measured_difference) == (high, high - formula.upper)
    assert under.upper == formula.upper
    assert (under.measured, under.measured_difference) == (low, low - formula.upper)
    assert over.confidence is under.confidence is Confidence.HIGH
    assert "measured: " in over.provenance


def test_device_memory_is_what_was_measured_but_for_the_cache() -> None:
    """
    llama.cpp allocates on a device before it answers: its peak counts, down to weights, cache and library.
    """
    formula = needs({}).device
    assert formula.upper is not None
    assert formula.lower is not None
    assert formula.runtime is not None
    least = formula.lower + formula.runtime
    of = instance(on_device=True)

    assert needs(learnt(usage(None, least + 10 * MIB), of=of)).device.upper == with_margin(least + 10 * MIB)
    assert needs(learnt(usage(None, 5 * MIB), of=of)).device.upper == least
    assert needs(learnt(usage(None, 2 * formula.upper), of=of)).device.upper == with_margin(2 * formula.upper)


def test_host_memory_beside_a_device_is_raised() -> None:
    """
    What an instance on a device held of the host counts for the next one.
    """
    of = instance(on_device=True)

    assert needs(learnt(usage(7 * GIB, MIB), of=of)).beside == with_margin(7 * GIB)
    assert needs(learnt(usage(1, MIB), of=of)).beside == needs({}).beside


def test_another_context_is_another_kind() -> None:
    """
    What was measured with 8192 tokens says nothing of 4096, nor of another cache; parameters that the assignment states
    make no difference.
    """
    peaks = learnt(usage(7 * GIB))

    assert needs(peaks, "-c", "4096").host.measured is None
    assert needs(peaks, "-ctk", "q8_0").host.measured is None
    assert needs(peaks, "-c", "8192", "-ngl", "0").host.measured == 7 * GIB


def test_a_fraction_of_a_device_is_no_need() -> None:
    """
    An engine that takes 0.9 of whatever card it gets teaches nothing of its model.
    """
    peaks = learnt(usage(7 * GIB, 7 * GIB), of=instance(on_device=True))

    assert needs(peaks, rules="vllm") == needs({}, rules="vllm")


def test_a_claim_by_hand_overrules_what_was_measured() -> None:
    """
    The operator's figure stands.
    """
    assert needs(learnt(usage(7 * GIB)), claim_memory_bytes=5 * MIB).host.upper == 5 * MIB


def test_what_lies_beside_a_model_makes_it_another() -> None:
    """
    What was measured before a projector lay beside the model says nothing of the same weights with it.
    """
    seeing = replace(SMOLLM2, companions=(Companion(kind="projector", file="mmproj.gguf", file_bytes=9, heads=2),))
    alone = instance()
    assert alone.assignment is not None
    with_projector = replace(alone, assignment=replace(alone.assignment, facts=seeing))
    peaks = learnt(usage(4 * GIB))

    assert needs(peaks).host.measured == 4 * GIB
    assert needs_of(seeing, profile(), (), spec(), peaks).host.measured is None
    assert learnt(usage(4 * GIB), of=with_projector).keys().isdisjoint(peaks)


def test_what_holds_no_more_raises_nothing() -> None:
    """
    Of a node's measurements those are looked at in which an instance holds more than in any before, or is another one.
    """
    seen = Seen()
    known = instance()
    there = {known.name: known}

    assert seen.raised(usage(100, 10), there)
    assert not seen.raised(usage(100, 10), there)
    assert not seen.raised(usage(90, 9), there)
    assert seen.raised(usage(101, 10), there)
    assert seen.raised(usage(101, 11), there)
    assert seen.raised(usage(1, 1), {known.name: replace(known, restart_count=1)})
    assert not seen.raised(NodeUsage(measure_time=NOW), there)
    assert seen.raised(usage(1, 1), there)
