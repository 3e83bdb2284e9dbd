"""The plugin holds to what every accelerator plugin must."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_sdk import AcceleratorPlugin
from motorpool_sdk.testing import AcceleratorContract
from motorpool_sdk.testing.machine import FakeLibrary
from tests.plugins.accelerators.amd.cards import cards
from tests.plugins.accelerators.conftest import StartChild


class TestAmd(AcceleratorContract):
    package = "motorpool_amd"

    @pytest.fixture(autouse=True)
    def _machine(self, rsmi: FakeLibrary, child: StartChild) -> None:
        rsmi.show(cards(8))
        self._child, self._folder = child, rsmi.folder

    _child: StartChild
    _folder: Path

    def accelerator(self) -> AcceleratorPlugin:
        """The plugin anew, on eight made-up cards."""
        return self._child(self.package, self._folder)

    def test_the_recording_has_devices(self) -> None:
        """The contract was not held on nothing."""
        assert 8 == len(self.devices())
