"""An accelerator's plugin as the agent uses it: its devices, their health, their measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from motorpool_agent.inventory.plugin_process import PluginProcess
from motorpool_agent.inventory.plugin_status import PluginState
from motorpool_sdk import Device, Exposure, Health, Manifest, PluginError, Sample, SourceReport, wire
from motorpool_sdk.errors import PLUGIN_FAILED
from motorpool_sdk.wellformed import device_faults, exposure_faults, sample_faults

HealthReport = dict[str, tuple[Health, tuple[str, ...]]]


class AcceleratorPlugin:
    """Asks a vendor's plugin and trusts none of its answers. One bad card costs one card."""

    def __init__(self, manifest: Manifest, process: PluginProcess) -> None:
        self._manifest = manifest
        self._process = process
        self._devices: dict[str, Device] = {}
        self._samples: Mapping[str, Sample] = {}
        self.refresh_seconds = 0.0
        self.sample_seconds: float | None = None

    def devices(self) -> Mapping[str, Device]:
        """Return the devices by id. While the plugin does not answer they stay, and nothing is known of them."""
        match self._process.state:
            case PluginState.DEGRADED:
                return {key: self._unanswered(device) for key, device in self._devices.items()}
            case PluginState.QUARANTINED:
                return {
                    key: replace(self._unanswered(device), memory_bytes=None) for key, device in self._devices.items()
                }
            case _:
                return self._devices

    def samples(self) -> Mapping[str, Sample]:
        """Return the last measurement of each device that has one."""
        return self._samples

    async def refresh(self) -> bool:
        """Ask for devices and their health; return whether something changed. Raises PluginError."""
        seconds = self._process.patience.inventory_seconds
        fingerprint = await self._process.call("fingerprint", None, wire.Fingerprint, seconds)
        self.refresh_seconds = self._process.answer_seconds
        devices, faults = self._vetted(fingerprint)
        before, self._devices = self._devices, devices
        health = await self._process.call("health", tuple(devices), HealthReport, seconds)
        self.refresh_seconds += self._process.answer_seconds
        self._devices = {key: _with_health(device, health) for key, device in devices.items()}
        for error in fingerprint.errors:
            faults.append(f"{error.device_id}: {error.message}")
            known = before.get(error.device_id)
            if known is not None and error.device_id not in devices:
                self._devices[error.device_id] = _unreadable(known, error.message)
        remark = f"some devices of {self._manifest.provides} cannot be used: {'; '.join(faults[:5])}"
        self._process.approve(remark if faults else "")
        return self._devices != before

    async def sample(self) -> None:
        """Measure the devices; what could not be measured has no measurement. Raises PluginError."""
        seconds = self._process.patience.call_seconds
        try:
            samples = await self._process.call("sample", tuple(self._devices), tuple[Sample, ...], seconds)
        except PluginError:
            self._samples = {}
            raise
        self.sample_seconds = self._process.answer_seconds
        self._samples = {
            sample.device_id: sample
            for sample in samples
            if sample.device_id in self._devices and not sample_faults(sample)
        }

    async def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand over these devices and no others. Raises PluginError."""
        seconds = self._process.patience.call_seconds
        exposure = await self._process.call("expose", tuple(device_ids), Exposure, seconds)
        if faults := exposure_faults(exposure, self._manifest):
            message = f"the exposure of {self._manifest.provides} cannot be used: {'; '.join(faults[:5])}"
            self._process.degrade(message)
            raise PluginError(PLUGIN_FAILED, message)
        return exposure

    async def sources(self) -> tuple[SourceReport, ...]:
        """Return the ways to the devices that the plugin tried; none where it does not tell. Raises PluginError."""
        return await self._process.call("sources", None, tuple[SourceReport, ...], self._process.patience.call_seconds)

    def _vetted(self, fingerprint: wire.Fingerprint) -> tuple[dict[str, Device], list[str]]:
        devices: dict[str, Device] = {}
        faults: list[str] = []
        for device in fingerprint.devices:
            wrong = device_faults(device, self._manifest)
            if device.device_id in devices:
                wrong = ("its device_id is another device's too",)
            if wrong:
                faults.append(f"{device.device_id[:64] or 'a device'}: {wrong[0]}")
            else:
                devices[device.device_id] = device
        return devices, faults

    def _unanswered(self, device: Device) -> Device:
        return replace(device, health=Health.UNKNOWN, health_reasons=(self._process.last_error,))


def _unreadable(device: Device, message: str) -> Device:
    return replace(device, health=Health.UNKNOWN, health_reasons=(message,), memory_bytes=None)


def _with_health(device: Device, report: HealthReport) -> Device:
    health, reasons = report.get(device.device_id, (Health.UNKNOWN, ()))
    return replace(device, health=health, health_reasons=reasons)
