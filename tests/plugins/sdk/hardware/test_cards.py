"""What the plugin around a vendor's sources does: which answers, what is remembered, what is asked how often."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from motorpool_sdk import Device, DeviceError, Exposure, Health, Sample, SourceReport
from motorpool_sdk.hardware import Bus, CallError, CardPlugin, Patience, Unavailable, Verdict
from motorpool_sdk.testing.machine import FakeBus


@dataclass
class Made:
    """A source whose cards and troubles a test sets."""

    name: str
    addresses: list[str] = field(default_factory=list)
    errors: list[DeviceError] = field(default_factory=list)
    trouble: Exception | None = None
    stuck: threading.Event | None = None
    seconds: float = 0.0
    clock: list[float] = field(default_factory=lambda: [0.0])
    measured: int = 0
    path: str = ""

    def cards(self) -> Sequence[str | DeviceError]:
        self._suffer()
        return [*self.addresses, *self.errors]

    def measure(self, card: str) -> Sample:
        self._suffer()
        self.measured += 1
        self.clock[0] += self.seconds
        if card not in self.addresses:
            raise CallError("measure", 3, "gone")
        return Sample(device_id="", used_bytes=self.measured)

    def judge(self, card: str) -> Verdict:
        self._suffer()
        return Health.HEALTHY, (self.name,)

    def _suffer(self) -> None:
        if self.stuck is not None:
            self.stuck.wait()
        if self.trouble is not None:
            raise self.trouble


class Vendor(CardPlugin[str]):
    vendor = "acme"
    framework = "acme"

    def described(self, cards: Sequence[str]) -> Sequence[Device]:
        return [
            Device(device_id=card, vendor="acme", framework="acme", pci_address=card, memory_bytes=5) for card in cards
        ]

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        return Exposure(env={"CARDS": ",".join(self.chosen(device_ids))})


A, B = "0000:0a:00.0", "0000:0b:00.0"


def vendor(tmp_path: Path, *sources: Made, clock: list[float] | None = None) -> Vendor:
    now = clock or [0.0]
    for source in sources:
        source.clock = now
    bus = Bus(pci_vendor="aaaa", classes=("12",), drivers=("acme",), remedy="install acme", root=tmp_path)
    return Vendor(sources, bus, Patience(cards_seconds=0.3, sample_seconds=0.3), clock=lambda: now[0])


def listed(plugin: Vendor) -> list[str]:
    return [each.device_id for each in plugin.fingerprint()]


def test_the_best_source_that_answers_is_asked(tmp_path: Path) -> None:
    """
    The second is asked only while the first cannot be used, and its failure is told; it is tried again after a while.
    """
    now = [0.0]
    library, command = Made("lib", [A], trouble=Unavailable("no lib")), Made("smi", [A])
    plugin = vendor(tmp_path, library, command, clock=now)

    assert [A] == listed(plugin)
    assert {A: (Health.HEALTHY, ("smi",))} == plugin.health([A])
    assert [SourceReport(name="lib", failure="no lib"), SourceReport(name="smi", in_use=True)] == plugin.sources()

    library.trouble = None
    listed(plugin)
    assert {A: (Health.HEALTHY, ("smi",))} == plugin.health([A])
    now[0] += 21
    listed(plugin)
    assert {A: (Health.HEALTHY, ("lib",))} == plugin.health([A])


def test_a_source_that_hangs_is_left_behind(tmp_path: Path) -> None:
    """
    A call that does not return costs its time limit once; the next source answers, until the call has returned.
    """
    now = [0.0]
    stuck = threading.Event()
    library, command = Made("lib", [A], stuck=stuck), Made("smi", [A])
    plugin = vendor(tmp_path, library, command, clock=now)

    assert [A] == listed(plugin)
    assert "lib did not answer within 0.3 s" in plugin.sources()[0].failure
    now[0] += 21
    listed(plugin)
    assert "lib still hangs in an earlier call" in plugin.sources()[0].failure
    stuck.set()
    assert library.stuck is not None
    while "hangs" in plugin.sources()[0].failure:
        now[0] += 21
        listed(plugin)
    assert {A: (Health.HEALTHY, ("lib",))} == plugin.health([A])


def test_a_source_that_fails_between_looks(tmp_path: Path) -> None:
    """
    Figures of a source that broke are none, health is unknown with its reason, and the next question finds another.
    """
    library, command = Made("lib", [A]), Made("smi", [A])
    plugin = vendor(tmp_path, library, command)
    listed(plugin)

    library.trouble = Unavailable("the driver is gone")

    assert [] == plugin.sample([A])
    assert [A] == [sample.device_id for sample in plugin.sample([A])]
    assert {A: (Health.HEALTHY, ("smi",))} == plugin.health([A])


def test_one_question_that_fails_is_one_cards(tmp_path: Path) -> None:
    """
    A card that cannot be measured has no measurement; the others have theirs.
    """
    library = Made("lib", [A, B])
    plugin = vendor(tmp_path, library)
    listed(plugin)

    library.addresses = [B]

    assert [B] == [sample.device_id for sample in plugin.sample([A, B])]


def test_measuring_costs_a_share_of_the_time_at_most(tmp_path: Path) -> None:
    """
    A source that takes a second is asked every twenty; in between its last figures stand.
    """
    now = [0.0]
    slow = Made("smi", [A], seconds=1.0)
    plugin = vendor(tmp_path, slow, clock=now)

    counts = []
    for _ in range(50):
        now[0] += 1
        (sample,) = plugin.sample([A])
        counts.append(sample.used_bytes)

    assert 3 == slow.measured
    assert {1, 2, 3} == set(counts)


def test_cards_that_only_the_bus_shows(tmp_path: Path) -> None:
    """
    While a source answers, cards with their driver that it does not list are somebody else's; those without are
    unhealthy. While none answers all are.
    """
    bus = FakeBus(tmp_path)
    bus.add(A, pci_id="aaaa:0001", pci_class="120000", driver="acme")
    bus.add(B, pci_id="aaaa:0001", pci_class="120000", driver="vfio-pci")
    library = Made("lib")
    plugin = vendor(tmp_path, library)

    assert [B] == listed(plugin)
    assert "its kernel driver is vfio-pci; install acme" in plugin.health([B])[B][1][0]

    library.trouble = Unavailable("no lib")
    assert [A, B] == listed(plugin)
    assert "its kernel driver is acme; no lib; install acme" in plugin.health([A])[A][1][0]
    with pytest.raises(LookupError, match=f"{A} cannot be handed over: the card is on the PCI bus"):
        plugin.expose([A])


def test_a_card_that_cannot_be_named_was_one_that_could(tmp_path: Path) -> None:
    """
    An error for a known card is not listed beside it; one that nobody knows is.
    """
    library = Made("lib", [A, B])
    plugin = vendor(tmp_path, library)
    listed(plugin)

    library.addresses = [A]
    library.errors = [DeviceError(device_id=B, message="lost"), DeviceError(device_id="card 7", message="what")]

    assert [A, B, "card 7"] == listed(plugin)
    assert None is next(each for each in plugin.fingerprint() if each.device_id == B).memory_bytes  # type: ignore[union-attr]
