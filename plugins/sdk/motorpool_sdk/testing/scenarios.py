"""What a vendor's plugin must stand, on its made-up library and its recorded command: one list of scenarios for all.

Needs pytest. Tests that take seconds are marked ``slow``, and those that hold a promise of Motorpool's ``promise``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from motorpool_sdk.accelerator import Health, Sample
from motorpool_sdk.testing.machine import FakeCommand, PluginChild, PluginRaisedError
from motorpool_sdk.testing.vendor import MadeVendor, Recorded, ShownLibrary, Written

FIGURES = ("used_bytes", "utilization_ratio", "temperature_celsius", "power_watts")
StartVendor = Callable[..., PluginChild]
BuildLibrary = Callable[..., Path]
_MOST_SECONDS = 30.0
_BUILT: dict[tuple[object, ...], Path] = {}


class Scenarios:
    """Subclass as ``class TestMine(Scenarios)`` and set ``vendor``."""

    vendor: ClassVar[MadeVendor]

    @pytest.fixture(name="build")
    def _build(self, tmp_path_factory: pytest.TempPathFactory) -> BuildLibrary:
        """Compile the vendor's library, each kind once."""

        def build(without: tuple[str, ...] = (), defines: tuple[str, ...] = ()) -> Path:
            key = (self.vendor.name, without, defines)
            if key not in _BUILT:
                folder = tmp_path_factory.mktemp(self.vendor.name)
                _BUILT[key] = self.vendor.compile(folder, without=without, defines=defines)
            return _BUILT[key]

        return build

    @pytest.fixture(name="library")
    def _library(self, tmp_path: Path, build: BuildLibrary) -> ShownLibrary:
        """The vendor's library in a folder of the test's own."""
        return ShownLibrary(self.vendor, tmp_path / "library", build())

    @pytest.fixture(name="start")
    def _start(self) -> Iterator[StartVendor]:
        """Start the vendor's plugin on libraries and commands in these folders; it ends with the test."""
        started: list[PluginChild] = []

        def start(*folders: Path, env: Mapping[str, str] | None = None) -> PluginChild:
            started.append(PluginChild(self.vendor.package, *folders, env=env))
            return started[-1]

        yield start
        for plugin in started:
            plugin.end()

    @pytest.mark.parametrize("count", [0, 1, 8, 16])
    def test_so_many_cards(self, library: ShownLibrary, start: StartVendor, count: int) -> None:
        """There are as many devices as cards, also none, with the scenario's figures to the byte."""
        library.show(self.vendor.cards(count))
        plugin = start(library.folder)

        assert self.vendor.figures(count) == figures(plugin)
        assert {Health.HEALTHY} >= {health for health, _ in plugin.health(list(plugin.devices())).values()}

    @pytest.mark.promise("P5")
    def test_one_bad_card(self, library: ShownLibrary, start: StartVendor) -> None:
        """A card that cannot be named costs itself: it is an error, or stays listed as lost where it was known."""
        good, bad = self.vendor.card(0, used=100), self.vendor.card(1, self.vendor.unreadable, used=101)
        library.show(good + bad)
        plugin = start(library.folder)

        assert self.vendor.figures(1) == figures(plugin)
        assert len(plugin.errors()) == 1

        library.show(self.vendor.cards(2))
        assert self.vendor.figures(2) == figures(plugin)

        library.show(good + bad)
        lost = self.vendor.device_id(1)
        assert {**self.vendor.figures(1), lost: (None, None)} == figures(plugin)
        assert Health.UNHEALTHY is plugin.health([lost])[lost][0]

    @pytest.mark.promise("P5")
    def test_an_older_library(self, tmp_path: Path, build: BuildLibrary, start: StartVendor) -> None:
        """Without a newer release's functions cards and memory are told all the same."""
        old = build(without=self.vendor.newer, defines=self.vendor.newer_defines)
        library = ShownLibrary(self.vendor, tmp_path / "old", old)
        library.show(self.vendor.cards(2))

        assert self.vendor.figures(2) == figures(start(library.folder))

    @pytest.mark.promise("P5")
    def test_a_needed_symbol_is_missing(self, tmp_path: Path, build: BuildLibrary, start: StartVendor) -> None:
        """Without a function that nothing works without, the error names it."""
        library = ShownLibrary(self.vendor, tmp_path / "strange", build(without=self.vendor.needed))
        library.show(self.vendor.cards(2))

        said = failure(start(library.folder, env={"PATH": "/nowhere"}))
        assert any(symbol in said for symbol in self.vendor.needed), said

    @pytest.mark.promise("P5")
    def test_a_library_that_refuses(self, library: ShownLibrary, start: StartVendor) -> None:
        """A driver that is not loaded, or of another release, says so with what to do."""
        line, said = self.vendor.refusal
        library.show(self.vendor.cards(1), f"{line}\n")

        told = failure(start(library.folder, env={"PATH": "/nowhere"}))
        assert said in told, told

    @pytest.mark.promise("P5")
    def test_calls_that_fail(self, library: ShownLibrary, start: StartVendor) -> None:
        """Figures that a card does not tell are unknown, never 0, and the other card's are told."""
        library.show(self.vendor.cards(2))
        plugin = start(library.folder)
        plugin.fingerprint()
        library.show(self.vendor.card(0, *self.vendor.untold, used=100) + self.vendor.card(1, used=101))

        first, second = plugin.sample([self.vendor.device_id(0), self.vendor.device_id(1)])

        assert Sample(device_id=self.vendor.device_id(0)) == first
        assert 101 * self.vendor.unit == second.used_bytes

    @pytest.mark.parametrize("figure", FIGURES)
    @pytest.mark.promise("P5")
    def test_absurd_figures(self, library: ShownLibrary, start: StartVendor, figure: str) -> None:
        """A figure that cannot be is unknown, and costs no other."""
        if figure not in self.vendor.absurd:
            pytest.skip(f"{self.vendor.name} tells no {figure}")
        library.show(self.vendor.cards(1))
        plugin = start(library.folder)
        device_id = self.vendor.device_id(0)
        (whole,) = plugin.sample([device_id])
        library.show(self.vendor.card(0, self.vendor.absurd[figure], used=100))
        (less,) = plugin.sample([device_id])

        assert None is not getattr(whole, figure)
        assert {figure: None} == {
            name: getattr(less, name) for name in FIGURES if getattr(whole, name) != getattr(less, name)
        }

    @pytest.mark.promise("P5")
    def test_absurd_memory(self, library: ShownLibrary, start: StartVendor) -> None:
        """A card whose size cannot be has no size, and is there."""
        library.show(self.vendor.card(0, self.vendor.absurd["memory_bytes"], used=100))

        assert {self.vendor.device_id(0): None} == {
            key: device.memory_bytes for key, device in start(library.folder).devices().items()
        }

    @pytest.mark.promise("P5")
    def test_a_card_that_vanishes_and_returns(self, library: ShownLibrary, start: StartVendor) -> None:
        """A lost card keeps its name, without memory and unhealthy; when it is back it is as before."""
        library.show(self.vendor.cards(2))
        plugin = start(library.folder)
        before = plugin.devices()
        lost = self.vendor.device_id(1)

        library.show(self.vendor.cards(1))
        assert (before[lost].product, None) == (plugin.devices()[lost].product, plugin.devices()[lost].memory_bytes)
        assert Health.UNHEALTHY is plugin.health([lost])[lost][0]
        with pytest.raises(PluginRaisedError, match="cannot be handed over"):
            plugin.expose([lost])

        library.show(self.vendor.cards(2))
        assert before == plugin.devices()
        assert self.vendor.figures(2) == figures(plugin)

    @pytest.mark.promise("P2")
    def test_a_divided_card(self, library: ShownLibrary, start: StartVendor) -> None:
        """Its parts are devices that name it; neither it nor two of them are handed over, and undivided it is whole."""
        if (divided := self.vendor.divided) is None:
            pytest.skip(f"{self.vendor.name} tells no partitions by its library")
        library.show(self.vendor.card(0, *divided.lines, used=100) + self.vendor.card(1, used=101))
        plugin = start(library.folder)
        whole, other = self.vendor.device_id(0), self.vendor.device_id(1)
        found = figures(plugin)
        parents = {key: device.partition_of for key, device in plugin.devices().items()}

        assert {whole: "", other: "", **dict.fromkeys(divided.parts, whole)} == parents
        assert divided.parts == {key: found[key] for key in divided.parts}
        for refused in ([whole], [whole, other], list(divided.parts)):
            with pytest.raises(PluginRaisedError):
                plugin.expose(refused)
        plugin.expose([other])

        library.show(self.vendor.cards(2))
        assert self.vendor.figures(2) == figures(plugin)
        plugin.expose([whole])


class CommandScenarios(Scenarios):
    """What a plugin must stand whose vendor has a command beside the library."""

    @pytest.mark.slow
    @pytest.mark.parametrize("at", ["opening", "looking", "measuring"])
    @pytest.mark.promise("P5")
    def test_a_call_that_hangs(self, library: ShownLibrary, tmp_path: Path, start: StartVendor, at: str) -> None:
        """A wedged library is left behind in its thread, and the vendor's command answers."""
        recorded = self._recorded()
        library.show(self.vendor.cards(2))
        plugin = start(library.folder, recorded.put(tmp_path / "bin").folder)
        if at == "measuring":
            plugin.fingerprint()
        library.show(self.vendor.cards(2), f"hang {self.vendor.hangs[at]}\n")
        plugin.sample([self.vendor.device_id(0)])

        assert set(recorded.device_ids) <= set(plugin.devices())
        assert "did not answer within" in plugin.sources()[0].failure

    def test_recorded_output(self, tmp_path: Path, start: StartVendor) -> None:
        """Where there is no library, the vendor's command tells the cards that it told on a real machine."""
        recorded = self._recorded()
        plugin = start(recorded.put(tmp_path / "bin").folder)

        devices = plugin.devices()
        samples = plugin.sample(list(devices))

        assert set(recorded.device_ids) == set(devices)
        assert {None} != {device.memory_bytes for device in devices.values()}
        assert set(recorded.device_ids) == {sample.device_id for sample in samples}

    def test_a_written_card_is_the_recorded_one(self) -> None:
        """What is written for one card is the recording's first to the letter, and so more of them are its like."""
        written = self._written()

        assert self._recorded().prints.keys() == written.one.keys()
        assert written.one == written.cards(1)

    @pytest.mark.parametrize("count", [0, 1, 8, 16])
    def test_so_many_cards_by_command(self, tmp_path: Path, start: StartVendor, count: int) -> None:
        """The command tells as many cards as there are, their figures to the byte; none is an error that says so."""
        recorded, written = self._recorded(), self._written()
        command = FakeCommand(tmp_path / "bin", recorded.name)
        for arguments, text in written.cards(count).items():
            command.prints(arguments, text)
        plugin = start(command.folder)

        if count == 0:
            assert recorded.name in failure(plugin)
        else:
            assert written.figures(count) == figures(plugin)

    @pytest.mark.promise("P5")
    def test_a_recorded_card_that_vanishes_and_returns(self, tmp_path: Path, start: StartVendor) -> None:
        """A card that the command lists no more keeps its name, without memory and unhealthy, until it is back."""
        recorded = self._recorded()
        command = recorded.put(tmp_path / "bin")
        plugin = start(command.folder)
        before = plugin.devices()
        (lost,) = recorded.device_ids[-1:]

        for arguments, text in recorded.fewer.items():
            command.prints(arguments, text)
        # What it printed is taken for fresh for a while.
        _until(lambda: plugin.devices()[lost].memory_bytes is None)
        assert set(before) == set(plugin.devices())
        assert Health.UNHEALTHY is plugin.health([lost])[lost][0]
        assert lost not in {sample.device_id for sample in plugin.sample(list(before))}

        for arguments, text in recorded.prints.items():
            command.prints(arguments, text)
        _until(lambda: plugin.devices() == before)

    @pytest.mark.promise("P5")
    @pytest.mark.promise("P9")
    def test_recorded_output_cut_short(self, tmp_path: Path, start: StartVendor) -> None:
        """However much of the output is missing, what is told of a card is what was told of it, or unknown."""
        recorded = self._recorded()
        whole = start(recorded.put(tmp_path / "whole").folder).devices()
        seen: set[str] = set()
        for part in range(1, 8):
            command = recorded.put(tmp_path / str(part))
            for arguments, text in recorded.prints.items():
                command.prints(arguments, text[: len(text) * part // 8])
            try:
                less = start(command.folder, env={"LD_LIBRARY_PATH": ""}).devices()
            except PluginRaisedError as error:
                assert recorded.name in str(error)  # noqa: PT017  # either outcome will do
                continue
            seen |= set(less)
            for device_id, device in less.items():
                assert device_id in whole
                assert device.memory_bytes in {None, whole[device_id].memory_bytes}
        assert seen <= set(whole)

    @pytest.mark.parametrize("text", ["驱动未加载", "Segmentation fault\n", "{}", ""])
    @pytest.mark.promise("P9")
    def test_a_command_that_prints_something_else(self, tmp_path: Path, start: StartVendor, text: str) -> None:
        """Text in another language, another program's or none at all is an error that names the command."""
        recorded = self._recorded()
        command = recorded.put(tmp_path / "bin")
        for arguments in recorded.prints:
            command.prints(arguments, text)

        assert recorded.name in failure(start(command.folder))

    def _recorded(self) -> Recorded:
        assert self.vendor.recorded is not None
        return self.vendor.recorded

    def _written(self) -> Written:
        if (written := self._recorded().written) is None:
            pytest.skip("nothing writes this command's output for any number of cards: give Recorded its `written`")
        return written


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _MOST_SECONDS
    while not true():
        assert time.monotonic() < deadline, "what was waited for did not come about"
        time.sleep(0.05)


def figures(plugin: PluginChild) -> dict[str, tuple[int | None, int | None]]:
    """Return total and used bytes of each device; None for what is unknown."""
    devices = plugin.devices()
    used = {sample.device_id: sample.used_bytes for sample in plugin.sample(list(devices))}
    return {key: (device.memory_bytes, used.get(key)) for key, device in devices.items()}


def failure(plugin: PluginChild) -> str:
    """Return why there is no device."""
    with pytest.raises(PluginRaisedError) as raised:
        plugin.fingerprint()
    return str(raised.value)
