"""Acme accelerators: a stranger's plugin, made with `motorpool-sdk new accelerator acme` and a library in C."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from motorpool_acme import library
from motorpool_sdk import AcceleratorPlugin, Device, DeviceError, Exposure, Health, MemoryKind, Sample, hookimpl
from motorpool_sdk.hardware import measurement, size

VISIBLE = "ACME_VISIBLE_CARDS"
HOT_CELSIUS = 95
LOST = (Health.UNHEALTHY, ("libacme does not list this card any more; look at its slot and at Acme's driver",))


class Acme:
    """Answers for the cards that libacme knows, and for those that it knew: claims on a lost card keep its name."""

    def __init__(self) -> None:
        self._seen: dict[str, Device] = {}
        self._cards: dict[str, library.Card] = {}

    def fingerprint(self) -> Sequence[Device | DeviceError]:
        """Return every card; one that cannot be read costs itself."""
        errors: list[DeviceError] = []
        self._cards = {}
        for number in range(library.count()):
            try:
                card = library.card(number)
            except OSError as error:
                errors.append(DeviceError(device_id=f"card {number}", message=str(error)))
            else:
                self._cards[card.uuid] = card
        lost = {key: replace(device, memory_bytes=None) for key, device in self._seen.items() if key not in self._cards}
        self._seen = {**{key: _device(card) for key, card in self._cards.items()}, **lost}
        return [*self._seen.values(), *errors]

    def sample(self, device_ids: Sequence[str]) -> Sequence[Sample]:
        """Return a measurement of each card that was asked for; what is not told, or cannot be, is unknown."""
        self.fingerprint()
        return [_sample(self._cards[key]) for key in device_ids if key in self._cards]

    def health(self, device_ids: Sequence[str]) -> Mapping[str, tuple[Health, tuple[str, ...]]]:
        """Return the state of each card whose temperature is known, and of those that are lost."""
        celsius = {sample.device_id: sample.temperature_celsius for sample in self.sample(device_ids)}
        lost = {key: LOST for key in device_ids if key in self._seen and key not in self._cards}
        return {**{key: _judged(value) for key, value in celsius.items() if value is not None}, **lost}

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return the variable by which Acme's runtime shows these cards and no others."""
        self.fingerprint()
        for key in device_ids:
            if key not in self._cards:
                raise LookupError(f"{key} cannot be handed over: libacme does not list it")
        return Exposure(env={VISIBLE: ",".join(device_ids)})


def _device(card: library.Card) -> Device:
    return Device(
        device_id=card.uuid,
        vendor="acme",
        framework="acme",
        product=card.product,
        index=card.number,
        memory_kind=MemoryKind.DEDICATED,
        memory_bytes=size(card.memory_bytes),
    )


def _sample(card: library.Card) -> Sample:
    try:
        usage = library.usage(card.number)
    except OSError:
        return Sample(device_id=card.uuid)
    figures = measurement(
        used_bytes=usage.used_bytes, total_bytes=card.memory_bytes, percent=usage.busy_percent, celsius=usage.celsius
    )
    return replace(figures, device_id=card.uuid)


def _judged(celsius: float) -> tuple[Health, tuple[str, ...]]:
    if celsius < HOT_CELSIUS:
        return Health.HEALTHY, ()
    return Health.UNHEALTHY, (f"{celsius:g} °C is too hot; look at its fan",)


@hookimpl
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Introduce the plugin."""
    register(Acme())
