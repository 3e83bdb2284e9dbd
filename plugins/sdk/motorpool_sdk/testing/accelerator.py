"""What every accelerator plugin must hold to, on a machine that has its hardware or a recording of it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import ClassVar

from motorpool_sdk import wire
from motorpool_sdk.accelerator import AcceleratorPlugin, Device, DeviceError, Exposure, Health, Sample
from motorpool_sdk.loading import load_accelerator
from motorpool_sdk.manifest import Kind, Manifest
from motorpool_sdk.testing.manifest import installed_manifest
from motorpool_sdk.wellformed import device_faults, exposure_faults, sample_faults

_WARM_LOOKS = 10
_LOOKS = 100
_MOST_SECONDS = 10.0
# An allocator keeps what it once had; what leaks a structure a look is above this after a hundred.
_MOST_GROWTH_BYTES = 2 * 2**20


class AcceleratorContract:
    """Subclass as ``class TestMine(AcceleratorContract)`` and set ``package``.

    Override ``accelerator`` to give the plugin a recording in place of the vendor's library. One that runs in another
    process than the test has that as its ``pid``.
    """

    package: ClassVar[str]

    def accelerator(self) -> AcceleratorPlugin:
        """Return the plugin under test."""
        return load_accelerator(self.manifest.module)

    @property
    def manifest(self) -> Manifest:
        """The plugin's manifest."""
        return installed_manifest(self.package)

    def devices(self) -> list[Device]:
        """Return the devices that could be read."""
        return [each for each in self.accelerator().fingerprint() if not isinstance(each, DeviceError)]

    def test_manifest_says_nothing_unknown(self) -> None:
        """The manifest is an accelerator's, and has no key that nobody reads."""
        assert self.manifest.kind is Kind.ACCELERATOR
        assert not self.manifest.findings, self.manifest.findings

    def test_devices_are_well_formed(self) -> None:
        """Every device has an id, its vendor and framework; what is unknown is None."""
        for device in self.devices():
            faults = device_faults(device, self.manifest)
            assert not faults, faults

    def test_runtime_versions_begin_with_a_number(self) -> None:
        """A runtime is compared with what backends need by its leading numbers; where it is not told it is empty."""
        told = {device.runtime_version for device in self.devices()}
        assert not [version for version in told if version and not version[0].isdigit()], told

    def test_device_ids_differ(self) -> None:
        """No two devices have one id."""
        ids = [device.device_id for device in self.devices()]
        assert len(ids) == len(set(ids)), ids

    def test_device_ids_are_stable(self) -> None:
        """A second look finds the same ids."""
        first = {device.device_id for device in self.devices()}
        assert first == {device.device_id for device in self.devices()}

    def test_samples_are_well_formed(self) -> None:
        """Measurements are of devices that were asked for, in bytes and ratios."""
        ids = [device.device_id for device in self.devices()]
        samples = tuple(self.accelerator().sample(ids))
        assert {sample.device_id for sample in samples} <= set(ids)
        for sample in samples:
            assert not sample_faults(sample), sample_faults(sample)
        assert wire.decode(wire.encode(samples), tuple[Sample, ...]) == samples

    def test_nothing_is_measured_unasked(self) -> None:
        """No ids, no measurements."""
        assert not self.accelerator().sample([])

    def test_health_is_tri_state(self) -> None:
        """Health is told of devices that were asked for, with reasons where it is bad."""
        ids = [device.device_id for device in self.devices()]
        for device_id, (health, reasons) in self.accelerator().health(ids).items():
            assert device_id in ids
            assert health is not Health.UNHEALTHY or reasons, f"{device_id} is unhealthy for no reason"

    def test_exposure_is_well_formed(self) -> None:
        """Devices are handed over by declared environment names only, alike each time."""
        ids = [device.device_id for device in self.devices()]
        exposure = self.accelerator().expose(ids)
        assert not exposure_faults(exposure, self.manifest), exposure_faults(exposure, self.manifest)
        assert exposure == self.accelerator().expose(ids)
        assert wire.decode(wire.encode(exposure), Exposure) == exposure

    def test_a_hundred_looks_leave_nothing_behind(self) -> None:
        """Descriptors and memory of the plugin's process stay as they were, however often it is asked."""
        plugin = self.accelerator()
        process = Path("/proc") / str(getattr(plugin, "pid", os.getpid()))
        _look(plugin, _WARM_LOOKS)
        descriptors, resident_bytes = _held(process)
        looks = _look(plugin, _LOOKS)
        more, grown_bytes = _held(process)[0] - descriptors, _held(process)[1] - resident_bytes
        assert more <= 0, f"{more} descriptors more are open after {looks} looks"
        assert grown_bytes <= _MOST_GROWTH_BYTES, f"{grown_bytes} bytes more are resident after {looks} looks"


def _look(plugin: AcceleratorPlugin, times: int) -> int:
    """Ask for everything so many times, or as many as a slow command has time for; return how many."""
    until = time.monotonic() + _MOST_SECONDS
    looks = 0
    while looks < times and time.monotonic() < until:
        ids = [each.device_id for each in plugin.fingerprint() if not isinstance(each, DeviceError)]
        plugin.sample(ids)
        plugin.health(ids)
        looks += 1
    return looks


def _held(process: Path) -> tuple[int, int]:
    """Return a process's open descriptors and resident bytes."""
    resident_pages = int((process / "statm").read_text(encoding="ascii").split()[1])
    return len(list((process / "fd").iterdir())), resident_pages * os.sysconf("SC_PAGE_SIZE")
