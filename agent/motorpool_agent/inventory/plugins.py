"""The node's plugins: which there are, which may be asked, and what they answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from motorpool_agent.inventory.accelerator_plugin import AcceleratorPlugin
from motorpool_agent.inventory.backend_plugin import BackendPlugin
from motorpool_agent.inventory.budget import Budget, rest_seconds
from motorpool_agent.inventory.ownership import Ownership, owned
from motorpool_agent.inventory.plugin_holdings import excess, holdings
from motorpool_agent.inventory.plugin_process import Patience, PluginProcess
from motorpool_agent.inventory.plugin_status import PluginState, PluginStatus, PluginUsage
from motorpool_sdk import (
    Device,
    Exposure,
    Finding,
    Found,
    Kind,
    Launch,
    LaunchRequest,
    Manifest,
    PluginError,
    Profile,
    Sample,
    SourceReport,
    discover,
)
from motorpool_sdk.errors import PLUGIN_FAILED, PLUGIN_UNKNOWN
from motorpool_sdk.presence import present

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Entry:
    """One plugin that may be asked."""

    plugin_id: str
    found: Found
    manifest: Manifest
    process: PluginProcess
    serves: BackendPlugin | AcceleratorPlugin
    present: bool
    budget: Budget
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    sampling: asyncio.Task[None] | None = None


class PluginTable:
    """Every plugin found on this node, asked in processes of their own.

    ``allow`` and ``block`` name entry points, distributions, vendors or backends; ``allow`` None allows all. ``notify``
    is called, on the event loop, whenever statuses, profiles or devices changed.
    """

    def __init__(
        self,
        *,
        allow: Sequence[str] | None,
        block: Sequence[str],
        notify: Callable[[], None],
        patience: Patience | None = None,
    ) -> None:
        self._allow = None if allow is None else frozenset(allow)
        self._block = frozenset(block)
        self._notify = notify
        self._patience = patience or Patience()
        self._entries: dict[str, _Entry] = {}
        self._idle: list[PluginStatus] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._started = asyncio.Event()

    async def start(self) -> None:
        """Find the plugins and begin to ask those that are allowed; does not wait for their answers."""
        for found in await asyncio.to_thread(discover):
            self._admit(found)
        loop = asyncio.get_running_loop()
        self._keepers = [loop.create_task(self._keep(entry)) for entry in self._entries.values()]
        self._started.set()
        self._notify()

    async def close(self) -> None:
        """Stop every plugin's process."""
        sampling = [entry.sampling for entry in self._entries.values() if entry.sampling is not None]
        for task in (*self._keepers, *sampling):
            task.cancel()
        await asyncio.gather(*self._keepers, *sampling, return_exceptions=True)
        await asyncio.gather(*(entry.process.close() for entry in self._entries.values()))

    async def wait_ready(self, backend: str = "") -> None:
        """Wait until every allowed plugin, or just this backend's, was asked once, whatever it answered."""
        await self._started.wait()
        for entry in self._entries.values():
            if not backend or entry.manifest.provides == backend:
                await entry.asked.wait()

    async def refresh(self) -> None:
        """Ask every allowed plugin again, as after an engine was installed."""
        await asyncio.gather(*(self._ask(entry) for entry in self._entries.values()))

    def statuses(self) -> tuple[PluginStatus, ...]:
        """Return what became of each plugin found, by id."""
        remarks = self._ownership().remarks
        asked = (
            _status(
                entry.plugin_id,
                entry.found,
                entry.process.state,
                "; ".join(filter(None, (entry.process.last_error, remarks.get(entry.plugin_id)))),
                entry.process.failures,
            )
            for entry in self._entries.values()
        )
        return tuple(sorted((*self._idle, *asked), key=lambda status: status.plugin_id))

    def profiles(self) -> Mapping[str, Profile]:
        """Return the profile of every backend that can be launched here, by backend name."""
        return {
            profile.backend: profile
            for entry, plugin in self._backends()
            if (profile := plugin.profile) is not None and entry.process.state is not PluginState.QUARANTINED
        }

    def profile(self, backend: str) -> Profile | None:
        """Return the last known profile of a backend, also while its plugin is quarantined."""
        return next((plugin.profile for entry, plugin in self._backends() if entry.manifest.provides == backend), None)

    async def check(self, backend: str, request: LaunchRequest) -> Sequence[Finding]:
        """Return what speaks against launching ``request``. Raises PluginError."""
        return await self._backend(backend).check(request)

    async def launch(self, backend: str, request: LaunchRequest) -> Launch:
        """Return how to launch ``request``. Raises PluginError."""
        return await self._backend(backend).launch(request)

    def devices(self) -> Mapping[str, Device]:
        """Return every device of every vendor, by device id; one that two plugins list is one of them's."""
        return self._ownership().devices

    async def sample(self) -> Mapping[str, Sample]:
        """Measure all devices; return the measurements by device id, in time also while a vendor's code hangs.

        A vendor whose measurements cost more than their share of the time is asked less often; its last ones stand.
        """
        for entry, plugin in self._accelerators():
            rests = entry.sampling is None or entry.sampling.done()
            if entry.present and rests and entry.budget.allows():
                entry.sampling = asyncio.get_running_loop().create_task(self._sampled(entry, plugin))
        sampling = [entry.sampling for entry in self._entries.values() if entry.sampling is not None]
        if sampling:
            await asyncio.wait(sampling, timeout=self._patience.sample_seconds)
        return self.usage()

    async def measured(self, device_ids: Collection[str]) -> Mapping[str, Sample]:
        """Measure these devices now, whatever it costs; one that is not measured in time has no measurement."""
        wanted = {plugin_id for device_id, plugin_id in self._ownership().plugins.items() if device_id in device_ids}
        asked: dict[asyncio.Task[None], AcceleratorPlugin] = {}
        for entry, plugin in self._accelerators():
            if entry.present and entry.plugin_id in wanted:
                if entry.sampling is None or entry.sampling.done():
                    entry.sampling = asyncio.get_running_loop().create_task(self._sampled(entry, plugin))
                asked[entry.sampling] = plugin
        if not asked:
            return {}
        done, _ = await asyncio.wait(asked, timeout=self._patience.sample_seconds)
        return {
            device_id: sample
            for task in done
            for device_id, sample in asked[task].samples().items()
            if device_id in device_ids
        }

    def processes(self) -> tuple[PluginUsage, ...]:
        """Return what the plugins' processes hold now, of those that run."""
        return tuple(
            holdings(plugin_id, pid, getattr(entry.serves, "sample_seconds", None))
            for plugin_id, entry in sorted(self._entries.items())
            if (pid := entry.process.pid) is not None
        )

    def usage(self) -> Mapping[str, Sample]:
        """Return the last measurements by device id; a device without one is unknown."""
        plugins = self._ownership().plugins
        return {
            key: sample
            for entry, plugin in self._accelerators()
            for key, sample in plugin.samples().items()
            if plugins.get(key) == entry.plugin_id
        }

    def manifests(self) -> Mapping[str, Manifest]:
        """Return the manifest of each plugin that may be asked, by plugin id."""
        return {plugin_id: entry.manifest for plugin_id, entry in self._entries.items()}

    async def sources(self) -> Mapping[str, tuple[SourceReport, ...]]:
        """Return by plugin id the ways to devices that each vendor's plugin tried, of those that tell."""
        found: dict[str, tuple[SourceReport, ...]] = {}
        for entry, plugin in self._accelerators():
            # One that hangs or died told in its status what there is to tell; asking it would start it again.
            if entry.present and entry.process.pid is not None:
                with contextlib.suppress(PluginError):
                    found[entry.plugin_id] = await plugin.sources()
        return found

    async def expose(self, vendor: str, device_ids: Sequence[str]) -> Exposure:
        """Return how devices of one vendor are handed to a process or container. Raises PluginError."""
        for entry, plugin in self._accelerators():
            if entry.manifest.provides == vendor:
                return await plugin.expose(device_ids)
        raise PluginError(PLUGIN_UNKNOWN, self._missing("accelerator", vendor))

    def _admit(self, found: Found) -> None:
        plugin_id = found.entry_point
        if plugin_id in {*self._entries, *(status.plugin_id for status in self._idle)}:
            plugin_id = f"{found.entry_point}.{found.distribution}"
        manifest = found.manifest
        names = {found.entry_point, found.distribution} | ({manifest.provides} if manifest else set())
        if names & self._block or (self._allow is not None and not names & self._allow):
            self._idle.append(_status(plugin_id, found, PluginState.BLOCKED))
        elif manifest is None:
            log.warning("plugin incompatible: %s", found.error)
            self._idle.append(_status(plugin_id, found, PluginState.INCOMPATIBLE, found.error))
        elif rival := self._rival(manifest):
            error = f"{manifest.kind} {manifest.provides} is served by {rival} already; block or uninstall one of them"
            self._idle.append(_status(plugin_id, found, PluginState.INCOMPATIBLE, error))
        else:
            for finding in filter(None, (*manifest.findings, manifest.deprecation)):
                log.warning("manifest of plugin %s: %s", plugin_id, finding)
            self._entries[plugin_id] = self._entry(plugin_id, found, manifest)

    def _rival(self, manifest: Manifest) -> str:
        for entry in self._entries.values():
            if (entry.manifest.kind, entry.manifest.provides) == (manifest.kind, manifest.provides):
                return entry.found.distribution
        return ""

    def _entry(self, plugin_id: str, found: Found, manifest: Manifest) -> _Entry:
        accelerator = manifest.kind is Kind.ACCELERATOR
        process = PluginProcess(found, manifest, self._patience, stays=accelerator, changed=self._notify)
        serves = AcceleratorPlugin(manifest, process) if accelerator else BackendPlugin(manifest, process)
        return _Entry(
            plugin_id=plugin_id,
            found=found,
            manifest=manifest,
            process=process,
            serves=serves,
            present=not accelerator,
            budget=Budget(self._patience.share, self._patience.in_hand_seconds, asyncio.get_running_loop().time),
        )

    async def _keep(self, entry: _Entry) -> None:
        """Ask a plugin at start and after a failure, a vendor's every now and then as well."""
        process = entry.process
        while process.state is not PluginState.QUARANTINED:
            await self._ask(entry)
            entry.asked.set()
            if process.state is PluginState.DEGRADED:
                await asyncio.sleep(process.backoff_seconds or self._patience.refresh_seconds)
                continue
            every_seconds = None
            if isinstance(entry.serves, AcceleratorPlugin):
                rest = rest_seconds(entry.serves.refresh_seconds, self._patience.share)
                every_seconds = max(self._patience.refresh_seconds, rest)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_seconds):
                    await process.wait_unwell()

    async def _ask(self, entry: _Entry) -> None:
        if entry.manifest.kind is Kind.ACCELERATOR:
            was_present = entry.present
            entry.present = await asyncio.to_thread(present, entry.manifest)
            if was_present and not entry.present:
                entry.process.degrade(f"the hardware that {entry.plugin_id} serves is gone")
                await entry.process.retire()
        if entry.present:
            await self._guarded(entry, self._refreshed(entry))

    async def _refreshed(self, entry: _Entry) -> None:
        if await entry.serves.refresh():
            self._notify()

    async def _sampled(self, entry: _Entry, plugin: AcceleratorPlugin) -> None:
        await self._guarded(entry, self._measured(entry, plugin))
        pid = entry.process.pid
        if pid is not None and (remark := excess(holdings(entry.plugin_id, pid), self._patience)):
            log.warning(remark)
            await entry.process.renew(remark)

    async def _measured(self, entry: _Entry, plugin: AcceleratorPlugin) -> None:
        await plugin.sample()
        # One that failed is not charged for it: it is not asked again until its back-off is over.
        entry.budget.spend(plugin.sample_seconds or 0.0)

    async def _guarded(self, entry: _Entry, answer: Awaitable[None]) -> None:
        try:
            await answer
        except PluginError as error:
            # Crashes and missed deadlines the process has recorded itself.
            if error.reason == PLUGIN_FAILED:
                entry.process.degrade(error.message)

    def _backend(self, backend: str) -> BackendPlugin:
        for entry, plugin in self._backends():
            if entry.manifest.provides == backend:
                return plugin
        for status in self._idle:
            if status.provides == backend:
                reason = status.last_error or "the agent's configuration does not allow it"
                raise PluginError(PLUGIN_FAILED, f"backend {backend}: its plugin is {status.state}: {reason}")
        raise PluginError(PLUGIN_UNKNOWN, self._missing("backend", backend))

    def _missing(self, kind: str, name: str) -> str:
        there = sorted({entry.manifest.provides for entry in self._entries.values()})
        return (
            f"no plugin on this node serves {kind} {name}; there are: {', '.join(there) or 'none'}. "
            f"Install one into the agent's environment and restart the agent"
        )

    def _backends(self) -> Iterator[tuple[_Entry, BackendPlugin]]:
        for entry in self._entries.values():
            if isinstance(entry.serves, BackendPlugin):
                yield entry, entry.serves

    def _ownership(self) -> Ownership:
        return owned({entry.plugin_id: plugin.devices() for entry, plugin in self._accelerators()})

    def _accelerators(self) -> Iterator[tuple[_Entry, AcceleratorPlugin]]:
        for entry in self._entries.values():
            if isinstance(entry.serves, AcceleratorPlugin):
                yield entry, entry.serves


def _status(plugin_id: str, found: Found, state: PluginState, last_error: str = "", failures: int = 0) -> PluginStatus:
    manifest = found.manifest
    return PluginStatus(
        plugin_id=plugin_id,
        distribution=found.distribution,
        version=found.version,
        kind=manifest.kind.value if manifest else "",
        provides=manifest.provides if manifest else "",
        state=state,
        last_error=last_error,
        failures=failures,
        deprecation=manifest.deprecation if manifest else "",
    )
