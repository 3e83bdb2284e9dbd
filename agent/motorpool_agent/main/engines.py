"""``motorpool-agent engine``: what the plugins' profiles name, installed below the data directory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from motorpool_agent.config import Config, ConfigError
from motorpool_agent.inventory import PluginTable
from motorpool_agent.runtime.engines import Engines
from motorpool_sdk.backend import Profile, Version


async def install(config: Config, backend: str, wanted: str | None, say: Callable[[str], None]) -> None:
    """Install a version's environment and say how far it is."""
    profile, version = await _found(config, backend, wanted)
    if version.environment is None:
        say(f"{profile.backend} {version.version} needs no environment: it runs {version.executable or version.image}")
        return
    engines = Engines(config.data_dir, config.cache_dir)
    directory = await engines.ensure(profile.backend, version, say)
    say(f"{profile.backend} {version.version} stands in {directory}")


async def version_of(config: Config, backend: str, wanted: str | None = None) -> tuple[str, Version]:
    """Return a backend's own name and a version of it, as this machine's plugins know them."""
    profile, version = await _found(config, backend, wanted)
    return profile.backend, version


async def _found(config: Config, backend: str, wanted: str | None) -> tuple[Profile, Version]:
    async with _plugins(config) as plugins:
        profile = _profile(plugins, backend)
        return profile, _version(profile, wanted)


async def show(config: Config, say: Callable[[str], None]) -> None:
    """Say one line for every version of every backend."""
    engines = Engines(config.data_dir, config.cache_dir)
    async with _plugins(config) as plugins:
        rows = [("BACKEND", "VERSION", "FRAMEWORKS", "STATE")]
        for backend, profile in sorted(plugins.profiles().items()):
            rows.extend(
                (backend, version.version, ",".join(version.frameworks), _state(engines, backend, version))
                for version in profile.versions
            )
        problems = [f"{each.plugin_id}: {each.last_error}" for each in plugins.statuses() if each.last_error]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for problem in problems:
        say(f"plugin {problem}")


@contextlib.asynccontextmanager
async def _plugins(config: Config) -> AsyncIterator[PluginTable]:
    plugins = PluginTable(allow=config.allow_plugins, block=config.block_plugins, notify=lambda: None)
    try:
        await plugins.start()
        await plugins.wait_ready()
        yield plugins
    finally:
        await plugins.close()


def _profile(plugins: PluginTable, backend: str) -> Profile:
    profiles = plugins.profiles()
    for profile in profiles.values():
        if backend == profile.backend or backend in profile.aliases:
            return profile
    problems = "; ".join(f"{each.plugin_id}: {each.last_error}" for each in plugins.statuses() if each.last_error)
    raise ConfigError(
        f"no plugin on this machine offers a backend {backend!r}; there are: {', '.join(sorted(profiles)) or 'none'}"
        f"{f' (troubled plugins: {problems})' if problems else ''}. "
        "Backends come as pip packages, e.g. motorpool-llama-cpp"
    )


def _version(profile: Profile, wanted: str | None) -> Version:
    for version in profile.versions:
        if wanted is None or version.version == wanted:
            return version
    known = ", ".join(version.version for version in profile.versions) or "none for this machine"
    raise ConfigError(f"{profile.backend} has no version {wanted or 'to install'} here; there are: {known}")


def _state(engines: Engines, backend: str, version: Version) -> str:
    if version.environment is None:
        return f"found at {version.executable}" if version.executable else f"image {version.image}"
    return "installed" if engines.installed(backend, version.version) else "not installed"
