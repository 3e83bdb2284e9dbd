"""Sizes of parallelism: how many devices were asked for, and what must be divisible."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from motorpool_controller.scheduling.demand import Divisor, Fault
from motorpool_controller.scheduling.rules.wish import Wish, counts


def world_size(sizes: Mapping[str, int | None]) -> int | None:
    """Return the product of the sizes that were given; None where none was (B6.1)."""
    given = [size for size in sizes.values() if size is not None]
    return prod(given) if given else None


def not_positive(sizes: Mapping[str, int | None]) -> tuple[Fault, ...]:
    """Return a fault for each size that is no size."""
    return tuple(
        Fault("PARAMETER_INVALID", f"--{name} is {size}, and a number of devices is positive; leave it out or give 1.")
        for name, size in sizes.items()
        if size is not None and size <= 0
    )


def wanted_devices(wish: Wish, world: int | None) -> tuple[int | None, tuple[Fault, ...]]:
    """Return how many devices an instance takes, None where nobody said; the parameters and the wish must agree (B5.1).

    Of pinned devices without a number, the largest power of two of each instance's part (B1.1).
    """
    asked = wish.spec.devices_per_instance or None
    if asked is not None and world is not None and asked != world:
        fault = Fault(
            "DEVICES_DIFFER",
            f"devices_per_instance is {asked}, and the parallel sizes in the parameters make {world}; give one of them,"
            " or the same.",
        )
        return world, (fault,)
    wanted = asked if asked is not None else world
    if wanted is None and wish.spec.devices:
        part = len(wish.spec.devices) // max(wish.spec.replicas, 1)
        wanted = 1 << (part.bit_length() - 1) if part else len(wish.spec.devices)
    return wanted, ()


def divisors(wish: Wish, *, vision: bool, vocabulary: bool) -> tuple[Divisor, ...]:
    """Return what tensor parallelism has to divide (B5.2, A5)."""
    facts = wish.facts
    if facts is None:
        return ()
    found = [Divisor("attention heads", heads) for heads in counts(facts.heads)]
    if vision and facts.vision_heads:
        found.append(Divisor("vision attention heads", facts.vision_heads))
    if vocabulary and facts.vocab_size:
        found.append(Divisor("entries of the vocabulary", facts.vocab_size))
    return tuple(found)


def tensor_faults(
    tensor: int | None, numbers: tuple[Divisor, ...], kv_heads: tuple[int, ...], option: str
) -> tuple[Fault, ...]:
    """Return a fault where the wanted size of tensor parallelism divides not what it has to (B6.3)."""
    if tensor is None or tensor <= 0:
        return ()
    wrong = [f"{each.number} {each.what}" for each in numbers if each.number % tensor]
    wrong += [f"{heads} key/value heads" for heads in kv_heads if heads % tensor and tensor % heads]
    if not wrong:
        return ()
    message = f"--{option} is {tensor}, and {', '.join(wrong)} cannot be divided so; choose another size."
    return (Fault("TENSOR_PARALLEL_INDIVISIBLE", message),)
