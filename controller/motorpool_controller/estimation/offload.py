"""How llama.cpp divides a model among devices and host memory, for any number of layers.

    offload = plan(shape, launch)                    # once for (facts, parameters): prefix sums over the layers
    offload.host                                     # nothing on devices
    offload.full                                     # everything on one device
    offload.split(20)                                # 20 layers on one device, as -ngl 20
    offload.split(offload.layers, (24, 80))          # all, on two unlike devices, as -ts 24,80
    offload.most_layers((free_a, free_b), host_free) # the most that fits, None where nothing does
    offload.single_layer                             # what a device must have free to be worth looking at

An answer takes time by the number of devices, not by the model's size.

Devices stand in the engine's order: those of RPC servers before its own. The last one gets the output layer, which is
one of ``layers``; layers leave host memory from the last one on.

Sources: llama.cpp b11549, src/llama-model.cpp (load_tensors: i_gpu_start, splits), llama-context.cpp (pipeline
parallelism keeps copies of the inputs), held against b10434 with layers on two RPC servers (benchmarks/README.md). What
an accelerator's own library takes (DEVICE_RUNTIME_BYTES) has not been seen on a card.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from motorpool_controller.domain.sizes import MIB
from motorpool_controller.estimation import graph, projector
from motorpool_controller.estimation.cache import cache_bytes, checkpoint_bytes
from motorpool_controller.estimation.launch import Launch
from motorpool_controller.estimation.shape import Shape

RUNTIME_BYTES = 150 * MIB
DEVICE_RUNTIME_BYTES = 500 * MIB
"""The engine itself, and its library on each device: gguf-parser-go's ``--platform-footprint 150,500`` (B9.1)."""

PIPELINE_COPIES = 4
"""Copies of a batch's inputs where several devices work on several batches at once (GGML_SCHED_MAX_COPIES)."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one memory holds, in bytes; ``layers`` of the model, the output layer included, are in it."""

    weights: int = 0
    cache: int = 0
    compute: int = 0
    runtime: int = 0
    layers: int = 0

    @property
    def total(self) -> int:
        """Return all of it."""
        return self.weights + self.cache + self.compute + self.runtime


@dataclass(frozen=True, slots=True)
class Split:
    """What each device holds, in the engine's order, and what host memory holds beside them."""

    devices: tuple[Part, ...]
    host: Part

    @property
    def total(self) -> int:
        """Return all of it, wherever it is."""
        return self.host.total + sum(device.total for device in self.devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    """Answers for one model and one launch; see the module. Sums over the layers before each index, in bytes."""

    layers: int
    weights_before: tuple[int, ...]
    experts_before: tuple[int, ...]
    cache_before: tuple[int, ...]
    embedding: int
    output: int
    adapters: int
    compute: int
    """Compute buffer where layers are; ``inputs`` and ``outputs``: where only what comes before and after them is."""
    inputs: int
    outputs: int
    crossing: int
    """What is added to it where layers are in host memory and on devices, ``fetched`` where caches are not beside
    their layers, ``copies`` by pipeline parallelism."""
    fetched: int
    copies: int
    results: int
    host_compute: int
    """Compute buffer where nothing is offloaded: all processors have flash attention."""
    runtime: int
    """Host memory of the engine, with caches of prompts and checkpoints."""
    experts_in_host: int
    cache_in_host: bool
    projector: int
    projector_in_host: bool
    shared: int
    """Of ``embedding`` and ``output``, what is the same, and there twice only where the two are apart."""

    @property
    def host(self) -> Part:
        """Return what a launch without devices holds."""
        return Part(
            weights=self.weights_before[-1]
            + self.embedding
            + self.output
            - self.shared
            + self.adapters
            + self.projector,
            cache=self.cache_before[-1],
            compute=self.host_compute + self.results,
            runtime=self.runtime,
            layers=self.layers,
        )

    @property
    def full(self) -> Split:
        """Return what a launch with everything on one device holds."""
        return self.split(self.layers)

    @property
    def single_layer(self) -> int:
        """Return the least bytes that one of the model's repeating layers takes on a device."""
        least = min(
            (self._range(index, index + 1) for index in range(self.layers - 1)),
            key=lambda part: part.weights + part.cache,
            default=Part(),
        )
        return least.weights + least.cache + self.compute + DEVICE_RUNTIME_BYTES

    def split(self, layers: int, ratios: Sequence[float] = (1,)) -> Split:
        """Return what a launch with so many layers on devices of these ratios holds; 0 layers: all in host memory.

        Ratios are those of ``--tensor-split``: numbers of any size, e.g. bytes free. A device of ratio 0 gets nothing.
        """
        layers = min(max(layers, 0), self.layers)
        if not layers or not sum(ratios):
            return Split(devices=(Part(),) * len(ratios), host=self.host)
        first = self.layers - layers
        bounds = [first + share for share in _shares(layers, ratios)]
        if first:
            more = self.crossing
        elif len(ratios) > 1 and not self.cache_in_host:
            more = self.copies
        else:
            more = 0
        devices = [self._on_device(begin, end, more) for begin, end in zip([first, *bounds], bounds, strict=False)]
        if self.projector and not self.projector_in_host:
            devices[0] = replace(devices[0], weights=devices[0].weights + self.projector, runtime=DEVICE_RUNTIME_BYTES)
        return Split(devices=tuple(devices), host=self._beside(first))

    def most_layers(
        self, free: Sequence[int], host_free: int | None = None, ratios: Sequence[float] | None = None
    ) -> int | None:
        """Return the most layers that fit in these bytes of devices and of host memory; None where no number does."""
        shares = free if ratios is None else ratios
        room = sum(free)
        # More than this cannot be, as their weights and caches alone exceed all devices; how the rest falls out depends
        # on which layer lands where, so that what fits is looked for from here on down.
        most = bisect_right(range(self.layers + 1), room, key=self._held) - 1 if sum(shares) else 0
        for layers in range(most, -1, -1):
            split = self.split(layers, shares)
            if (host_free is None or split.host.total <= host_free) and all(
                part.total <= of for part, of in zip(split.devices, free, strict=True)
            ):
                return layers
        return None

    def _held(self, layers: int) -> int:
        """Return weights and caches of so many layers on devices."""
        if not layers:
            return 0
        held = self._range(self.layers - layers, self.layers - 1)
        return self.output + held.weights + held.cache

    def _range(self, begin: int, end: int) -> Part:
        """Return weights and cache of the repeating layers from one to before another, as they lie on a device."""
        kept = self._kept(begin, end)
        return Part(
            weights=self.weights_before[end] - self.weights_before[begin] - kept,
            cache=0 if self.cache_in_host else self.cache_before[end] - self.cache_before[begin],
        )

    def _kept(self, begin: int, end: int) -> int:
        """Return the experts of these layers that stay in host memory."""
        in_host = self.experts_in_host
        return self.experts_before[min(end, in_host)] - self.experts_before[min(begin, in_host)]

    def _on_device(self, begin: int, end: int, more: int) -> Part:
        if begin == end:
            return Part()
        last = self.layers - 1
        held = self._range(begin, min(end, last))
        ends = end == self.layers
        return Part(
            weights=held.weights + (self.output + self.adapters if ends else 0),
            cache=held.cache,
            compute=(self.compute + more if begin < last else self.outputs)
            + (self.fetched if self.cache_in_host else 0),
            runtime=DEVICE_RUNTIME_BYTES,
            layers=end - begin,
        )

    def _beside(self, first: int) -> Part:
        """Return what host memory holds where the layers from ``first`` on are on devices."""
        last = self.layers - 1
        kept = self._kept(min(first, last), last)
        works = first > 0 or self.cache_in_host or kept > 0
        return Part(
            weights=self.embedding
            + self.weights_before[min(first, last)]
            + kept
            + self.adapters
            + (self.projector if self.projector_in_host else 0),
            cache=self.cache_before[-1] if self.cache_in_host else self.cache_before[min(first, last)],
            compute=(self.compute + self.crossing if works else self.inputs) + self.results,
            runtime=self.runtime,
            layers=first,
        )


def plan(shape: Shape, launch: Launch) -> Offload:
    """Return the offload of a model under a launch; where flash attention is left to the engine, devices lack it.

    Every processor has it, not every accelerator does, and without it the scores of a batch stand in memory.
    """
    flash = launch.flash_attention is True
    on_processors = launch.flash_attention is not False
    caches = [cache_bytes(shape, layer, launch) for layer in shape.layers]
    return Offload(
        layers=len(shape.layers) + 1,
        weights_before=_sums(layer.weights for layer in shape.layers),
        experts_before=_sums(layer.experts for layer in shape.layers),
        cache_before=_sums(caches),
        embedding=shape.embedding,
        output=shape.output,
        shared=shape.shared,
        adapters=launch.adapter_bytes,
        compute=graph.buffer_bytes(shape, launch, flash=flash),
        inputs=graph.input_bytes(shape, launch, flash=flash),
        outputs=graph.output_bytes(shape, launch),
        crossing=graph.crossing_bytes(shape, launch),
        fetched=max(caches, default=0),
        copies=(PIPELINE_COPIES - 1) * graph.copy_bytes(shape, launch, flash=flash),
        results=graph.results_bytes(shape, launch),
        host_compute=graph.buffer_bytes(shape, launch, flash=on_processors),
        runtime=RUNTIME_BYTES + launch.prompt_cache_bytes + checkpoint_bytes(shape, launch),
        experts_in_host=launch.experts_in_host,
        cache_in_host=launch.cache_in_host,
        projector=projector.bytes_of(launch.projector),
        projector_in_host=launch.projector_in_host,
    )


def _shares(layers: int, ratios: Sequence[float]) -> list[int]:
    """Return after which of the layers each device ends: layer i is on the first whose share of the sum exceeds i."""
    total = sum(ratios)
    return [min(math.ceil(reached * layers / total), layers) for reached in accumulate(ratios)]


def _sums(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(accumulate(numbers, initial=0))
