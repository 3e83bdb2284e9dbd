"""A backend's plugin as the agent uses it: its profile, and its checks and launches."""

from __future__ import annotations

from collections.abc import Sequence

from motorpool_agent.inventory.plugin_process import PluginProcess
from motorpool_sdk import Finding, Launch, LaunchRequest, Manifest, PluginError, Profile
from motorpool_sdk.errors import PLUGIN_FAILED
from motorpool_sdk.wellformed import launch_faults, profile_faults


class BackendPlugin:
    """Asks a backend's plugin and trusts none of its answers."""

    def __init__(self, manifest: Manifest, process: PluginProcess) -> None:
        self.profile: Profile | None = None
        self._manifest = manifest
        self._process = process

    async def refresh(self) -> bool:
        """Ask for the profile; return whether there is another one now. Raises PluginError."""
        patience = self._process.patience
        profile = await self._process.call("profile", None, Profile, patience.inventory_seconds)
        self._refuse("profile", profile_faults(profile, self._manifest))
        self._process.approve()
        changed = profile != self.profile
        self.profile = profile
        return changed

    async def check(self, request: LaunchRequest) -> Sequence[Finding]:
        """Return what speaks against launching ``request``. Raises PluginError."""
        patience = self._process.patience
        return await self._process.call("check", request, tuple[Finding, ...], patience.call_seconds)

    async def launch(self, request: LaunchRequest) -> Launch:
        """Return how to launch ``request``. Raises PluginError."""
        launch = await self._process.call("launch", request, Launch, self._process.patience.call_seconds)
        self._refuse("launch", launch_faults(launch, self._manifest, request.api_key, request.definition))
        return launch

    def _refuse(self, method: str, faults: Sequence[str]) -> None:
        if faults:
            message = f"the {method} of {self._manifest.provides} cannot be used: {'; '.join(faults[:5])}"
            self._process.degrade(message)
            raise PluginError(PLUGIN_FAILED, message)
