"""What this machine's plugins find when asked now, without a controller and beside an agent that may run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from motorpool_agent.config import Config
from motorpool_agent.inventory import PluginState, PluginStatus, PluginTable
from motorpool_sdk import Device, Health, Profile, Sample, SourceReport
from motorpool_sdk.manifest import Kind
from motorpool_sdk.presence import closed_nodes, looked_for, present, signs

# Loading, then a list of devices, with the agent's own deadlines for each.
_MOST_SECONDS = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyedDevice:
    """A device and its measurement; None where it could not be measured."""

    device: Device
    usage: Sample | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyedPlugin:
    """A plugin, what it looked for and found, and by which ways.

    ``signs`` of the hardware are told without the plugin; ``closed_nodes`` are those that this user may not open.
    """

    status: PluginStatus
    present: bool = True
    looked_for: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    closed_nodes: tuple[str, ...] = ()
    sources: tuple[SourceReport, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether it cannot do what it is here for."""
        return self.status.state is not PluginState.BLOCKED and self.present and bool(self.status.last_error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found, by device id and by plugin id."""

    devices: tuple[SurveyedDevice, ...]
    plugins: tuple[SurveyedPlugin, ...]
    profiles: Mapping[str, Profile]

    @property
    def accelerators(self) -> tuple[SurveyedPlugin, ...]:
        """The vendors' plugins, and those whose manifest does not even tell what they serve."""
        return tuple(each for each in self.plugins if each.status.kind != Kind.BACKEND)

    @property
    def sound(self) -> bool:
        """Whether everything that is here works."""
        well = all(each.device.health is not Health.UNHEALTHY for each in self.devices)
        return well and not any(each.fails for each in self.accelerators)


async def survey(config: Config) -> Survey:
    """Ask every plugin that the configuration allows, in processes of their own, and end them."""
    table = PluginTable(allow=config.allow_plugins, block=config.block_plugins, notify=lambda: None)
    try:
        await table.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MOST_SECONDS):
                await table.wait_ready()
        samples = await table.sample()
        sources = await table.sources()
        devices = table.devices()
        statuses = table.statuses()
        manifests = table.manifests()
        profiles = dict(table.profiles())
    finally:
        await table.close()
    plugins = []
    for status in statuses:
        manifest = manifests.get(status.plugin_id)
        if manifest is None or manifest.kind is not Kind.ACCELERATOR:
            plugins.append(SurveyedPlugin(status=status))
            continue
        plugins.append(
            SurveyedPlugin(
                status=status,
                present=present(manifest),
                looked_for=looked_for(manifest),
                signs=signs(manifest),
                closed_nodes=closed_nodes(manifest),
                sources=sources.get(status.plugin_id, ()),
            )
        )
    return Survey(
        devices=tuple(
            SurveyedDevice(device=device, usage=samples.get(device_id)) for device_id, device in devices.items()
        ),
        plugins=tuple(plugins),
        profiles=profiles,
    )
