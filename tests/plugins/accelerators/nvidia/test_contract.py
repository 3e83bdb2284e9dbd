"""The plugin holds to what every accelerator plugin must."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_sdk import AcceleratorPlugin
from motorpool_sdk.testing import AcceleratorContract
from tests.plugins.accelerators.nvidia.conftest import StartPlugin
from tests.plugins.accelerators.nvidia.machine import FakeNvml, two_cards


class TestNvidia(AcceleratorContract):
    package = "motorpool_nvidia"

    @pytest.fixture(autouse=True)
    def _machine(self, nvml: FakeNvml, start: StartPlugin) -> None:
        nvml.show(two_cards())
        self._start, self._folder = start, nvml.folder

    _start: StartPlugin
    _folder: Path

    def accelerator(self) -> AcceleratorPlugin:
        """The plugin anew, on two made-up cards."""
        return self._start(self._folder)

    def test_the_recording_has_devices(self) -> None:
        """The contract was not held on nothing."""
        assert 2 == len(self.devices())
