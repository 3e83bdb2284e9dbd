"""Splits: sums of a small model written out, what must hold for any model, recorded figures of real shapes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from motorpool_controller.domain.parameters import parse
from motorpool_controller.domain.sizes import GIB, MIB
from motorpool_controller.estimation.gguf import estimate
from motorpool_controller.estimation.offload import DEVICE_RUNTIME_BYTES, RUNTIME_BYTES, Offload, Split
from motorpool_formats import read_model
from motorpool_formats.facts import Companion, ModelFacts, RoleBytes
from tests.controller.fleets import OPTIONS, SMOLLM2
from tests.models.animals import REAL
from tests.models.zoo import Animal

RECORDING = Path(__file__).parent / "recordings" / "rpc-b10434.json"
"""The engine's own plans with layers on two RPC servers of one machine (llama-server b10434, -c 8192 -np 1), by device:
``memory breakdown`` and ``compute buffer size`` in MiB, ``layer … assigned to device``. Made from the models of
tests/models/animals.py on 2026-11-21."""

FACTS = replace(
    SMOLLM2,
    roles=RoleBytes(embedding=30_000_000, layers=66_493_440, output=0, other=83_328),
    weight_bytes=66_493_440 + 30_083_328,
)
"""30 layers of 2,216,448 bytes; embeddings that are the output too."""

TOKEN_BYTES = 3 * (64 + 64) * 2
"""Of a layer's cache: 3 key/value heads, keys and values of 64 in f16."""

LAYER_CACHE = 8_192 * TOKEN_BYTES
OUTPUT = 30_083_328


def offload(*arguments: str, facts: ModelFacts = FACTS) -> Offload:
    planned = estimate(facts, OPTIONS, parse(arguments, OPTIONS)).offload
    assert planned is not None
    return planned


def weights(split: Split) -> list[int]:
    return [part.weights for part in split.devices]


def test_layers_leave_host_memory_from_the_last_one_on() -> None:
    """
    11 of 31 layers: the output layer and the last ten; the first twenty and the embeddings stay.
    """
    split = offload().split(11)
    (device,) = split.devices

    assert (device.weights, device.cache, device.layers) == (10 * 2_216_448 + OUTPUT, 10 * LAYER_CACHE, 11)
    assert (split.host.weights, split.host.cache) == (30_000_000 + 20 * 2_216_448, 20 * LAYER_CACHE)
    assert (device.runtime, split.host.runtime) == (DEVICE_RUNTIME_BYTES, RUNTIME_BYTES)


def test_one_layer_is_the_output_layer() -> None:
    """
    The first layer to go is the output's: no cache goes with it.
    """
    (device,) = offload().split(1).devices

    assert (device.weights, device.cache, device.layers) == (OUTPUT, 0, 1)


def test_unlike_devices_get_layers_by_their_ratio() -> None:
    """
    31 layers on devices of 1 to 3: a layer is on the first device whose share of the sum exceeds its place.
    """
    first, second = offload().split(31, (1, 3)).devices

    assert (first.layers, second.layers) == (8, 23)
    assert first.weights == 8 * 2_216_448
    assert second.weights == 22 * 2_216_448 + OUTPUT


def test_a_device_of_no_share_gets_nothing() -> None:
    """
    Ratio 0 is a device left out.
    """
    split = offload().split(31, (0, 1))

    assert split.devices[0].total == 0
    assert split.devices[1].layers == 31


def test_no_layers_is_host_memory_alone() -> None:
    """
    Nothing on devices, and the embeddings are there once.
    """
    split = offload().split(0, (1, 1))

    assert [part.total for part in split.devices] == [0, 0]
    assert split.host == offload().host
    assert split.host.weights == FACTS.weight_bytes


def test_experts_stay_where_they_are_asked_to() -> None:
    """
    --cpu-moe keeps all experts in host memory, --n-cpu-moe those of the first layers, wherever the rest is.
    """
    mixture = replace(FACTS, experts=8, experts_used=2, layer_expert_bytes=(2_000_000,) * 30)
    full = offload(facts=mixture).full
    without = offload("--cpu-moe", facts=mixture).full
    some = offload("--n-cpu-moe", "7", facts=mixture).split(26)

    assert full.devices[0].weights - without.devices[0].weights == 30 * 2_000_000
    assert without.host.weights - full.host.weights == 30 * 2_000_000
    # Layers 5 to 29 are on the device; 5 and 6 are of the first seven.
    assert some.devices[0].weights == 25 * 2_216_448 - 2 * 2_000_000 + OUTPUT
    assert some.host.weights == 30_000_000 + 5 * 2_216_448 + 2 * 2_000_000


def test_the_cache_stays_where_it_is_asked_to() -> None:
    """
    --no-kv-offload leaves devices without a cache.
    """
    split = offload("--no-kv-offload").full

    assert split.devices[0].cache == 0
    assert split.host.cache == 30 * LAYER_CACHE


def test_a_projector_is_on_the_first_device_or_in_host_memory() -> None:
    """
    Its weights, and 16 heads' scores of 4096 x 4096 patches in f32: 1 GiB.
    """
    seeing = replace(FACTS, companions=(Companion(kind="projector", file="m.gguf", file_bytes=9, heads=16),))
    plain, seen = offload(), offload(facts=seeing)
    beside = offload("--no-mmproj-offload", facts=seeing)

    assert weights(seen.split(31, (1, 1)))[0] - weights(plain.split(31, (1, 1)))[0] == 9 + GIB
    assert seen.full.host == plain.full.host
    assert beside.full.host.weights - plain.full.host.weights == 9 + GIB
    assert beside.full.devices == plain.full.devices
    assert seen.host.weights == plain.host.weights + 9 + GIB


def test_the_most_layers_are_found() -> None:
    """
    As many as fit in what is free: one byte less, one layer less.
    """
    planned = offload()
    need = planned.split(20).devices[0].total

    assert planned.most_layers((need,)) == 20
    assert planned.most_layers((need - 1,)) == 19
    assert planned.most_layers((planned.full.devices[0].total,)) == 31
    assert planned.most_layers((0,)) == 0
    assert planned.most_layers((1 << 60,), host_free=1) is None


def test_a_device_without_room_for_one_layer_is_told() -> None:
    """
    The least that a layer takes there: its weights, its cache, a buffer to compute in and the device's library.
    """
    planned = offload("-fa", "on")

    assert planned.single_layer == 2_216_448 + LAYER_CACHE + planned.compute + DEVICE_RUNTIME_BYTES


def test_several_devices_keep_copies_of_inputs() -> None:
    """
    Pipeline parallelism over whole models takes three more copies of a batch's input, crossing rows and mask.
    """
    planned = offload("-fa", "on")
    one, two = planned.full, planned.split(31, (1, 1))
    mask = 8_192 * 512 * 2
    rows = 2 * 576 * 512 * 4

    assert two.devices[0].compute - one.devices[0].compute == 3 * (mask + rows)


@st.composite
def models(draw: st.DrawFn) -> ModelFacts:
    layers = draw(st.integers(1, 40))
    sizes = tuple(draw(st.lists(st.integers(0, 1 << 30), min_size=layers, max_size=layers)))
    experts = tuple(draw(st.integers(0, size)) for size in sizes)
    embedding, output, other = (draw(st.integers(0, 1 << 30)) for _ in range(3))
    outside = embedding + output + other
    return replace(
        FACTS,
        layers=layers,
        layer_bytes=sizes,
        layer_expert_bytes=experts,
        experts=8,
        experts_used=2,
        nonlayer_bytes=outside,
        weight_bytes=sum(sizes) + outside,
        kv_heads=tuple(draw(st.lists(st.integers(0, 9), min_size=layers, max_size=layers))),
        roles=RoleBytes(embedding=embedding, layers=sum(sizes), output=output, other=other),
    )


WEIGHTLESS = replace(
    FACTS,
    layers=1,
    layer_bytes=(0,),
    layer_expert_bytes=(0,),
    nonlayer_bytes=0,
    weight_bytes=0,
    kv_heads=(0,),
    roles=RoleBytes(embedding=0, layers=0, output=0, other=0),
)
"""A model whose layers take nothing: devices without a byte left must not get any all the same."""

ARGUMENTS = st.sampled_from(
    [(), ("-fa", "on"), ("--cpu-moe",), ("--n-cpu-moe", "3"), ("--no-kv-offload",), ("-ctk", "q8_0"), ("-np", "3")]
)
RATIOS = st.lists(st.integers(0, 1 << 40), min_size=1, max_size=8).filter(any)


@given(models(), ARGUMENTS, st.integers(0, 50), RATIOS)
def test_parts_sum_to_the_whole(facts: ModelFacts, arguments: Sequence[str], layers: int, ratios: list[int]) -> None:
    """
    However it is divided, all weights and caches are somewhere, and only shared embeddings twice.
    """
    planned = offload(*arguments, facts=facts)
    split = planned.split(layers, ratios)
    parts = [*split.devices, split.host]
    twice = sum(part.weights for part in parts) - facts.weight_bytes

    assert sum(part.cache for part in parts) == planned.host.cache
    assert twice in {0, planned.shared}
    assert sum(part.layers for part in parts) == planned.layers
    assert all(min(part.weights, part.cache, part.compute, part.runtime) >= 0 for part in parts)


@given(models(), ARGUMENTS, RATIOS)
def test_layers_follow_the_ratio(facts: ModelFacts, arguments: Sequence[str], ratios: list[int]) -> None:
    """
    No device's share of the layers is off its ratio by a whole layer.
    """
    planned = offload(*arguments, facts=facts)
    shares = [part.layers for part in planned.split(planned.layers, ratios).devices]

    assert all(
        abs(share - planned.layers * ratio / sum(ratios)) < 1.000001
        for share, ratio in zip(shares, ratios, strict=True)
    )


@given(models(), ARGUMENTS, st.integers(0, 40))
def test_more_layers_take_more_of_a_device_and_less_of_the_host(
    facts: ModelFacts, arguments: Sequence[str], layers: int
) -> None:
    """
    On one device weights and cache grow with the layers, and what is left in host memory does not.
    """
    planned = offload(*arguments, facts=facts)
    less, more = planned.split(layers), planned.split(layers + 1)

    assert less.devices[0].weights + less.devices[0].cache <= more.devices[0].weights + more.devices[0].cache
    assert less.host.weights + less.host.cache + planned.shared >= more.host.weights + more.host.cache


@given(models(), ARGUMENTS, st.integers(1, 60_000), st.integers(0, 40), RATIOS)
def test_longer_contexts_never_take_less(
    facts: ModelFacts, arguments: Sequence[str], context: int, layers: int, ratios: list[int]
) -> None:
    """
    Every part grows with the context or stays.
    """
    short = offload(*arguments, "-c", str(context), facts=facts).split(layers, ratios)
    long = offload(*arguments, "-c", str(context + 500), facts=facts).split(layers, ratios)

    for less, more in zip([*short.devices, short.host], [*long.devices, long.host], strict=True):
        assert less.total <= more.total


@given(models(), ARGUMENTS, st.integers(1, 8))
def test_more_devices_never_take_less_in_sum(facts: ModelFacts, arguments: Sequence[str], count: int) -> None:
    """
    Each device more brings its own library and buffers.
    """
    planned = offload(*arguments, facts=facts)
    few, many = (planned.split(planned.layers, (1,) * devices).total for devices in (count, count + 1))

    assert few <= many


@given(models(), ARGUMENTS, st.lists(st.integers(0, 1 << 35), min_size=1, max_size=4), st.integers(0, 1 << 36))
@example(WEIGHTLESS, (), [0], 1 << 30)
def test_the_most_that_fits_fits_and_one_more_does_not(
    facts: ModelFacts, arguments: Sequence[str], free: list[int], host_free: int
) -> None:
    """
    The answer is what trying every number from the top would give.
    """
    planned = offload(*arguments, facts=facts)

    def fits(layers: int) -> bool:
        split = planned.split(layers, free)
        rooms = zip(split.devices, free, strict=True)
        return split.host.total <= host_free and all(part.total <= room for part, room in rooms)

    most = planned.layers if sum(free) else 0  # layers go to devices that have something left
    slow = next((layers for layers in range(most, -1, -1) if fits(layers)), None)

    assert slow == planned.most_layers(free, host_free)


@pytest.fixture(scope="module", name="facts")
def read_facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelFacts]:
    """
    The recorded models' facts, read from files with holes for weights.
    """
    folder = tmp_path_factory.mktemp("zoo")

    def read(animal: Animal) -> ModelFacts:
        return read_model(animal.write(folder / f"{animal.name}.gguf", holes=True))

    return {animal.name: read(animal) for animal in REAL}


@pytest.mark.parametrize(
    "recorded", json.loads(RECORDING.read_text(encoding="utf-8")), ids=lambda row: f"{row['model']} {row['arguments']}"
)
def test_splits_are_those_of_a_server_with_remote_devices(
    recorded: dict[str, Any], facts: dict[str, ModelFacts]
) -> None:
    """
    Layers, weights and caches are where llama.cpp puts them; compute buffers are never 5 % less than its own.
    """
    arguments = [*recorded["arguments"].split(), "-c", "8192", "-np", "1"]
    split = offload(*arguments, facts=facts[recorded["model"]]).split(recorded["layers"], recorded["ratios"])

    assert [row["layers"] for row in recorded["devices"]] == [part.layers for part in split.devices]
    for row, part in zip([*recorded["devices"], recorded["host"]], [*split.devices, split.host], strict=True):
        # Printed as whole MiB, and for host memory as a sum of two such.
        assert row["weights"] == pytest.approx(part.weights / MIB, abs=2.01)
        assert row["cache"] == pytest.approx(part.cache / MIB, abs=1)
        assert row["compute"] <= part.compute / MIB * 1.05 + 0.01
