"""A vendor's plugin but for what only the vendor knows: the best source that answers, and cards not forgotten."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, TypeVar

from motorpool_sdk.accelerator import Device, DeviceError, Exposure, Health, MemoryKind, Sample, SourceReport
from motorpool_sdk.hardware.bounded import Bounded
from motorpool_sdk.hardware.bus import Bus
from motorpool_sdk.hardware.sources import CallError, Source, Unavailable, Verdict

C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a source may take, and how often one that failed, or is slow, is asked."""

    cards_seconds: float = 5.0
    sample_seconds: float = 2.0
    retry_seconds: float = 20.0
    # What takes longer than this is asked the less often: at most one part of `cost_factor` of the time goes into it.
    cheap_seconds: float = 0.5
    cost_factor: float = 20.0


class CardPlugin(Generic[C]):
    """Subclass with ``described`` and ``expose``; hand the sources over, best first.

    A part of a card is a card of its own, whose device names the whole in ``partition_of``; it is handed over alone.

    Cards that only the PCI bus shows are listed as unhealthy, with what every source said. A card that was seen once
    and is gone stays listed, unhealthy and without memory, so that claims on it keep a name.
    """

    vendor: ClassVar[str]
    framework: ClassVar[str]

    def __init__(
        self,
        sources: Sequence[Source[C]],
        bus: Bus,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bus = bus
        self._sources = tuple(sources)
        self._patience = patience or Patience()
        self._clock = clock
        self._threads = [Bounded(source.name) for source in sources]
        self._failures: dict[int, str] = {}
        self._not_before: dict[int, float] = {}
        self._current: int | None = None
        self._cards: dict[str, C] = {}
        self._seen: dict[str, Device] = {}
        self._stranded: dict[str, str] = {}
        self._samples: dict[str, Sample] = {}
        self._samples_until = float("-inf")

    @abstractmethod
    def described(self, cards: Sequence[C]) -> Sequence[Device]:
        """Return the device of each card, in their order."""

    def unusable(self, card: C) -> str:  # for subclasses
        """Return why a card cannot be used though it may be well, as one whose parts cannot be read; empty for most."""
        return ""

    @abstractmethod
    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand these devices over."""

    def fingerprint(self) -> Sequence[Device | DeviceError]:
        """Return every card. Raises Unavailable where no source answers, and no card is on the bus."""
        found = self._look()
        cards = [each for each in found if not isinstance(each, DeviceError)]
        errors = [each for each in found if isinstance(each, DeviceError)]
        devices = list(self.described(cards))
        self._cards = {device.device_id: card for device, card in zip(devices, cards, strict=True)}
        stranded = list(self._on_the_bus({device.pci_address for device in devices}))
        if self._current is None and not stranded and not self._seen:
            raise Unavailable("; ".join(self._failures.values()) or "there is no source")
        there = {device.device_id: device for device in (*devices, *stranded)}
        lost = {device.device_id: device for device in self._lost(there)}
        self._seen = {**there, **lost}
        # A card that cannot be named is one of those that could be before.
        return [*self._seen.values(), *(error for error in errors if error.device_id not in self._seen)]

    def sample(self, device_ids: Sequence[str]) -> Sequence[Sample]:
        """Return a measurement of each card that answers."""
        self._settle()
        if self._clock() >= self._samples_until:
            start = self._clock()
            self._samples = {sample.device_id: sample for sample in self._measured()}
            took = self._clock() - start
            if took > self._patience.cheap_seconds:
                self._samples_until = start + self._patience.cost_factor * took
        return [self._samples[device_id] for device_id in device_ids if device_id in self._samples]

    def health(self, device_ids: Sequence[str]) -> Mapping[str, Verdict]:
        """Return how each is, with reasons."""
        self._settle()
        return {device_id: self._judged(device_id) for device_id in device_ids}

    def sources(self) -> Sequence[SourceReport]:
        """Return which sources were tried, and what became of each."""
        return [
            SourceReport(
                name=source.name,
                path=source.path,
                failure=self._failures.get(number, ""),
                in_use=number == self._current,
            )
            for number, source in enumerate(self._sources)
        ]

    def listed(self) -> Sequence[C]:
        """Return the cards that there are, as they were last seen."""
        return tuple(self._cards.values())

    def answering(self) -> str:
        """Return the name of the source that answers; empty where none does."""
        return "" if self._current is None else self._sources[self._current].name

    def chosen(self, device_ids: Sequence[str]) -> list[C]:
        """Return the cards behind these ids as they are now; raises LookupError for one that cannot be handed over.

        Raises ValueError for a partition with anything beside it: no vendor's runtime gives a process two.
        """
        self.fingerprint()
        divided = {device.partition_of for device in self._seen.values()}
        for device_id in device_ids:
            card = self._cards.get(device_id)
            reasons = self._judged(device_id)[1] if card is None else tuple(filter(None, [self.unusable(card)]))
            if not reasons and device_id in divided:
                reasons = ("it is divided into partitions; those are handed over, not the whole",)
            if reasons:
                raise LookupError(f"{device_id} cannot be handed over: {'; '.join(reasons)}")
        if len(device_ids) > 1 and any(self._seen[device_id].partition_of for device_id in device_ids):
            raise ValueError(
                f"{', '.join(device_ids)}: a partition is handed over alone; ask for one partition, or for whole cards"
            )
        return [self._cards[device_id] for device_id in device_ids]

    def _look(self) -> Sequence[C | DeviceError]:
        self._current = None
        for number, source in enumerate(self._sources):
            if self._clock() < self._not_before.get(number, float("-inf")):
                continue
            try:
                found = self._threads[number].call(source.cards, self._patience.cards_seconds)
            except (Unavailable, CallError) as error:
                self._given_up(number, str(error))
                continue
            self._current = number
            self._failures.pop(number, None)
            return found
        return ()

    def _given_up(self, number: int, failure: str) -> None:
        self._failures[number] = failure
        self._not_before[number] = self._clock() + self._patience.retry_seconds
        self._current = None

    def _settle(self) -> None:
        """Look once if nobody did, as in a process that was just started anew."""
        if self._current is None and not all(number in self._failures for number in range(len(self._sources))):
            self.fingerprint()

    def _measured(self) -> Iterator[Sample]:
        for device_id, card in self._cards.items():
            number = self._current
            if number is None:
                return
            try:
                sample = self._threads[number].call(self._measuring(number, card), self._patience.sample_seconds)
            except Unavailable as error:
                self._given_up(number, str(error))
            except CallError:
                continue
            else:
                yield replace(sample, device_id=device_id)

    def _measuring(self, number: int, card: C) -> Callable[[], Sample]:
        return lambda: self._sources[number].measure(card)

    def _judged(self, device_id: str) -> Verdict:
        if device_id in self._stranded:
            return Health.UNHEALTHY, (self._stranded[device_id],)
        card, number = self._cards.get(device_id), self._current
        if card is None:
            return Health.UNHEALTHY, (f"{self._who()} does not list this card; {self.bus.remedy}",)
        if why := self.unusable(card):
            return Health.UNHEALTHY, (why,)
        if number is None:
            return Health.UNKNOWN, tuple(self._failures.values())
        try:
            return self._threads[number].call(lambda: self._sources[number].judge(card), self._patience.cards_seconds)
        except Unavailable as error:
            self._given_up(number, str(error))
            return Health.UNKNOWN, (str(error),)
        except CallError as error:
            return Health.UNKNOWN, (str(error),)

    def _who(self) -> str:
        return self.answering() or "nobody"

    def _on_the_bus(self, known: set[str]) -> Iterator[Device]:
        """Yield the cards that only the bus shows: all while no source answers, else those without their driver."""
        self._stranded = {}
        for card in self.bus.cards():
            served = card.driver in self.bus.drivers if self.bus.drivers else bool(card.driver)
            if card.address in known or (served and self._current is not None):
                continue
            bound = f"its kernel driver is {card.driver}" if card.driver else "no kernel driver is bound to it"
            said = [failure for failure in self._failures.values() if self._current is None]
            seen = f"the card is on the PCI bus and {bound}"
            self._stranded[card.address] = "; ".join([seen, *said, self.bus.remedy])
            yield Device(
                device_id=card.address,
                vendor=self.vendor,
                framework=self.framework,
                product=self.bus.products.get(card.device, ""),
                pci_address=card.address,
                numa_node=card.numa_node,
            )

    def _lost(self, there: Mapping[str, Device]) -> Iterator[Device]:
        for device_id, device in self._seen.items():
            # A partition that is gone while its card is there was taken away by somebody.
            if device_id not in there and device.partition_of not in there:
                kind = device.memory_kind or MemoryKind.DEDICATED
                yield replace(device, memory_kind=kind, memory_bytes=None, links=(), index=None)
