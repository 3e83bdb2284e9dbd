"""What every accelerator plugin must hold to, on a machine that has its hardware or a recording of it."""

from __future__ import annotations

from typing import ClassVar

from motorpool_sdk import wire
from motorpool_sdk.accelerator import AcceleratorPlugin, Device, DeviceError, Exposure, Health, Sample
from motorpool_sdk.loading import load_accelerator
from motorpool_sdk.manifest import Kind, Manifest
from motorpool_sdk.testing.manifest import installed_manifest
from motorpool_sdk.wellformed import device_faults, exposure_faults, sample_faults


class AcceleratorContract:
    """Subclass as ``class TestMine(AcceleratorContract)`` and set ``package``.

    Override ``accelerator`` to give the plugin a recording in place of the vendor's library.
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
