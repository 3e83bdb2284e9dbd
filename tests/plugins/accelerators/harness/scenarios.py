"""What every vendor's plugin must stand, on its made-up library and its recorded command: the one list of scenarios."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from motorpool_agent.inventory import Patience, PluginState, PluginStatus, PluginTable
from motorpool_sdk import Health, Sample
from tests.plugins.accelerators.harness.machine import PluginChild, PluginError
from tests.plugins.accelerators.harness.made import MadeVendor, Recorded, ShownLibrary
from tests.plugins.made_plugins import write_plugin

FIGURES = ("used_bytes", "utilization_ratio", "temperature_celsius", "power_watts")
PATIENCE = Patience(
    inventory_seconds=20.0,
    call_seconds=1.5,
    sample_seconds=1.0,
    refresh_seconds=60.0,
    first_backoff_seconds=0.01,
    most_backoff_seconds=0.02,
    failures_in_a_row=2,
)
StartVendor = Callable[..., PluginChild]
BuildLibrary = Callable[..., Path]


class Scenarios:
    """Subclass as ``class TestMine(Scenarios)`` and set ``vendor``."""

    vendor: ClassVar[MadeVendor]

    @pytest.fixture(name="build")
    def _build(self, built: dict[tuple[object, ...], Path], tmp_path_factory: pytest.TempPathFactory) -> BuildLibrary:
        """Compile the vendor's library, each kind once."""

        def build(without: tuple[str, ...] = (), defines: tuple[str, ...] = ()) -> Path:
            key = (self.vendor.name, without, defines)
            if key not in built:
                folder = tmp_path_factory.mktemp(self.vendor.name)
                built[key] = self.vendor.compile(folder, without=without, defines=defines)
            return built[key]

        return build

    @pytest.fixture(name="library")
    def _library(self, tmp_path: Path, build: BuildLibrary) -> ShownLibrary:
        """The vendor's library in a folder of the test's own."""
        return ShownLibrary(self.vendor, tmp_path / "library", build())

    @pytest.fixture(name="start")
    def _start(self, child: StartVendor) -> StartVendor:
        """Start the vendor's plugin on libraries and commands in these folders."""
        return lambda *folders, **options: child(self.vendor.package, *folders, **options)

    @pytest.mark.parametrize("count", [0, 1, 8, 16])
    def test_so_many_cards(self, library: ShownLibrary, start: StartVendor, count: int) -> None:
        """
        There are as many devices as cards, also none, with the scenario's figures to the byte.
        """
        library.show(self.vendor.cards(count))
        plugin = start(library.folder)

        assert self.vendor.figures(count) == figures(plugin)
        assert {Health.HEALTHY} >= {health for health, _ in plugin.health(list(plugin.devices())).values()}

    @pytest.mark.promise("P5")
    def test_one_bad_card(self, library: ShownLibrary, start: StartVendor) -> None:
        """
        A card that cannot be named costs itself: it is an error, or stays listed as lost where it was known before.
        """
        good, bad = self.vendor.card(0, used=100), self.vendor.card(1, self.vendor.unreadable, used=101)
        library.show(good + bad)
        plugin = start(library.folder)

        assert self.vendor.figures(1) == figures(plugin)
        assert 1 == len(plugin.errors())

        library.show(self.vendor.cards(2))
        assert self.vendor.figures(2) == figures(plugin)

        library.show(good + bad)
        lost = self.vendor.device_id(1)
        assert {**self.vendor.figures(1), lost: (None, None)} == figures(plugin)
        assert Health.UNHEALTHY is plugin.health([lost])[lost][0]

    @pytest.mark.promise("P5")
    def test_an_older_library(self, tmp_path: Path, build: BuildLibrary, start: StartVendor) -> None:
        """
        Without a newer release's functions cards and memory are told all the same.
        """
        old = build(without=self.vendor.newer, defines=self.vendor.newer_defines)
        library = ShownLibrary(self.vendor, tmp_path / "old", old)
        library.show(self.vendor.cards(2))

        assert self.vendor.figures(2) == figures(start(library.folder))

    @pytest.mark.promise("P5")
    def test_a_needed_symbol_is_missing(self, tmp_path: Path, build: BuildLibrary, start: StartVendor) -> None:
        """
        Without a function that nothing works without, the error names it.
        """
        library = ShownLibrary(self.vendor, tmp_path / "strange", build(without=self.vendor.needed))
        library.show(self.vendor.cards(2))

        said = failure(start(library.folder, env={"PATH": "/nowhere"}))
        assert any(symbol in said for symbol in self.vendor.needed), said

    @pytest.mark.promise("P5")
    def test_a_library_that_refuses(self, library: ShownLibrary, start: StartVendor) -> None:
        """
        A driver that is not loaded, or of another release, says so with what to do.
        """
        line, said = self.vendor.refusal
        library.show(self.vendor.cards(1), f"{line}\n")

        told = failure(start(library.folder, env={"PATH": "/nowhere"}))
        assert said in told, told

    @pytest.mark.promise("P5")
    def test_calls_that_fail(self, library: ShownLibrary, start: StartVendor) -> None:
        """
        Figures that a card does not tell are unknown, never 0, and the other card's are told.
        """
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
        """
        A figure that cannot be is unknown, and costs no other.
        """
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
        """
        A card whose size cannot be has no size, and is there.
        """
        library.show(self.vendor.card(0, self.vendor.absurd["memory_bytes"], used=100))

        assert {self.vendor.device_id(0): None} == {
            key: device.memory_bytes for key, device in start(library.folder).devices().items()
        }

    @pytest.mark.promise("P5")
    def test_a_card_that_vanishes_and_returns(self, library: ShownLibrary, start: StartVendor) -> None:
        """
        A lost card keeps its name, without memory and unhealthy; when it is back it is as before.
        """
        library.show(self.vendor.cards(2))
        plugin = start(library.folder)
        before = plugin.devices()
        lost = self.vendor.device_id(1)

        library.show(self.vendor.cards(1))
        assert (before[lost].product, None) == (plugin.devices()[lost].product, plugin.devices()[lost].memory_bytes)
        assert Health.UNHEALTHY is plugin.health([lost])[lost][0]
        with pytest.raises(PluginError, match="cannot be handed over"):
            plugin.expose([lost])

        library.show(self.vendor.cards(2))
        assert before == plugin.devices()
        assert self.vendor.figures(2) == figures(plugin)

    @pytest.mark.slow
    @pytest.mark.parametrize("fault", ["segfault", "hang"])
    @pytest.mark.promise("P5")
    async def test_broken_in_an_agent(
        self, library: ShownLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
    ) -> None:
        """
        A library that breaks while it is used is given up at last: its cards stay listed and nothing is known of them,
        while another vendor's figures go on arriving.
        """
        library.show(self.vendor.cards(2))
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library.folder))
        monkeypatch.setenv("PATH", f"{tmp_path}/no-commands:/usr/bin:/bin")
        ours, others = {self.vendor.device_id(0), self.vendor.device_id(1)}, {"GPU-0", "GPU-1"}
        async with table(tmp_path, monkeypatch, self.vendor.name) as opened:
            assert ours | others == set(await opened.sample())
            before = opened.devices()[self.vendor.device_id(0)]
            library.show(self.vendor.cards(2), f"{fault} {self.vendor.hangs['measuring']}\n")
            async with asyncio.timeout(90):
                while status(opened, self.vendor.name).state is not PluginState.QUARANTINED:
                    assert others <= set(await opened.sample())

            assert others == set(await opened.sample())
            lost = opened.devices()[self.vendor.device_id(0)]
            assert ours <= set(opened.devices())
            assert (Health.UNKNOWN, None, before.product) == (lost.health, lost.memory_bytes, lost.product)
            said = "SIGSEGV" if fault == "segfault" else "did not answer"
            assert said in status(opened, self.vendor.name).last_error
            assert Health.HEALTHY is opened.devices()["GPU-0"].health


class CommandScenarios(Scenarios):
    """What a plugin must stand whose vendor has a command beside the library."""

    @pytest.mark.slow
    @pytest.mark.parametrize("at", ["opening", "looking", "measuring"])
    @pytest.mark.promise("P5")
    def test_a_call_that_hangs(self, library: ShownLibrary, tmp_path: Path, start: StartVendor, at: str) -> None:
        """
        A wedged library is left behind in its thread, and the vendor's command answers.
        """
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
        """
        Where there is no library, the vendor's command tells the cards that it told on a real machine.
        """
        recorded = self._recorded()
        plugin = start(recorded.put(tmp_path / "bin").folder)

        devices = plugin.devices()
        samples = plugin.sample(list(devices))

        assert set(recorded.device_ids) == set(devices)
        assert {None} != {device.memory_bytes for device in devices.values()}
        assert set(recorded.device_ids) == {sample.device_id for sample in samples}

    @pytest.mark.promise("P5")
    @pytest.mark.promise("P9")
    def test_recorded_output_cut_short(self, tmp_path: Path, start: StartVendor) -> None:
        """
        However much of the output is missing, what is told of a card is what was told of it, or unknown.
        """
        recorded = self._recorded()
        whole = start(recorded.put(tmp_path / "whole").folder).devices()
        seen: set[str] = set()
        for part in range(1, 8):
            command = recorded.put(tmp_path / str(part))
            for arguments, text in recorded.prints.items():
                command.prints(arguments, text[: len(text) * part // 8])
            try:
                less = start(command.folder, env={"LD_LIBRARY_PATH": ""}).devices()
            except PluginError as error:
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
        """
        Text in another language, another program's or none at all is an error that names the command.
        """
        recorded = self._recorded()
        command = recorded.put(tmp_path / "bin")
        for arguments in recorded.prints:
            command.prints(arguments, text)

        assert recorded.name in failure(start(command.folder))

    def _recorded(self) -> Recorded:
        assert self.vendor.recorded is not None
        return self.vendor.recorded


def figures(plugin: PluginChild) -> dict[str, tuple[int | None, int | None]]:
    """Return total and used bytes of each device; None for what is unknown."""
    devices = plugin.devices()
    used = {sample.device_id: sample.used_bytes for sample in plugin.sample(list(devices))}
    return {key: (device.memory_bytes, used.get(key)) for key, device in devices.items()}


def failure(plugin: PluginChild) -> str:
    """Return why there is no device."""
    with pytest.raises(PluginError) as raised:
        plugin.fingerprint()
    return str(raised.value)


def status(opened: PluginTable, vendor: str) -> PluginStatus:
    """Return what became of a vendor's plugin."""
    return next(each for each in opened.statuses() if each.provides == vendor)


@asynccontextmanager
async def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: str) -> AsyncIterator[PluginTable]:
    """Open a table of this vendor and another one."""
    folder = tmp_path / "others"
    write_plugin(folder, "others", kind="accelerator")
    monkeypatch.syspath_prepend(folder)
    opened = PluginTable(allow=[vendor, "others"], block=(), notify=lambda: None, patience=PATIENCE)
    try:
        await opened.start()
        await opened.wait_ready()
        yield opened
    finally:
        await opened.close()
