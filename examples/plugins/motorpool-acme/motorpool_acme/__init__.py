"""Acme accelerators: a stranger's plugin, made with `motorpool-sdk new accelerator acme` and a library in C."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from motorpool_acme import library
from motorpool_sdk import AcceleratorPlugin, Device, Exposure, Health, MemoryKind, Sample, hookimpl

VISIBLE = "ACME_VISIBLE_CARDS"
HOT_CELSIUS = 95


class Acme:
    """Answers for the cards that libacme knows."""

    def fingerprint(self) -> Sequence[Device]:
        """Return every card."""
        return [
            Device(
                device_id=card.uuid,
                vendor="acme",
                framework="acme",
                product=card.product,
                index=card.number,
                memory_kind=MemoryKind.DEDICATED,
                memory_bytes=card.memory_bytes,
            )
            for card in library.cards()
        ]

    def sample(self, device_ids: Sequence[str]) -> Sequence[Sample]:
        """Return a measurement of each card that was asked for."""
        return [
            Sample(
                device_id=card.uuid,
                used_bytes=usage.used_bytes,
                utilization_ratio=None if usage.busy_percent is None else usage.busy_percent / 100,
                temperature_celsius=usage.celsius,
            )
            for card, usage in _usages(device_ids)
        ]

    def health(self, device_ids: Sequence[str]) -> Mapping[str, tuple[Health, tuple[str, ...]]]:
        """Return the state of each card whose temperature is known."""
        return {
            card.uuid: (
                (Health.HEALTHY, ())
                if usage.celsius < HOT_CELSIUS
                else (Health.UNHEALTHY, (f"{usage.celsius} °C is too hot; look at its fan",))
            )
            for card, usage in _usages(device_ids)
            if usage.celsius is not None
        }

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return the variable by which Acme's runtime shows these cards and no others."""
        return Exposure(env={VISIBLE: ",".join(device_ids)})


def _usages(device_ids: Sequence[str]) -> list[tuple[library.Card, library.Usage]]:
    return [(card, library.usage(card.number)) for card in library.cards() if card.uuid in device_ids]


@hookimpl
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Introduce the plugin."""
    register(Acme())
