"""The devices of this machine, the plugins that serve them, the engines that run on them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence

from motorpool_agent.config import Config
from motorpool_agent.inventory import PluginState
from motorpool_agent.main.doctor.findings import Finding, ok, problem, warning
from motorpool_agent.main.output import size
from motorpool_agent.main.survey import Survey, SurveyedPlugin, survey
from motorpool_agent.runtime.engines import Engines
from motorpool_sdk import Health
from motorpool_sdk.manifest import Kind
from motorpool_sdk.presence import cards_on_the_bus

_EXPLAIN = "`motorpool-agent devices --explain` says where it looked"


async def plugins(config: Config) -> list[Finding]:
    """What became of every plugin, and whether anything on the bus is served by none."""
    surveyed = await survey(config)
    found = [
        *(finding for plugin in surveyed.plugins for finding in _plugin(plugin, surveyed)),
        *_unserved(surveyed),
        *_absent(surveyed.plugins),
        *_engines(surveyed, config),
    ]
    if not surveyed.plugins:
        remedy = "pip install 'motorpool-agent[nvidia,llama-cpp]', or what fits, into the agent's environment"
        found.append(problem("plugins", "none is installed: this node would have no devices and no backends", remedy))
    return found


def _plugin(plugin: SurveyedPlugin, surveyed: Survey) -> Iterator[Finding]:
    status = plugin.status
    name = f"{status.kind or 'plugin'} {status.provides or status.plugin_id}"
    if status.state is PluginState.BLOCKED:
        return
    if status.state is PluginState.INCOMPATIBLE:
        yield problem(name, status.last_error, f"upgrade or uninstall {status.distribution}, or block it")
    elif not plugin.present:
        return
    elif status.state in {PluginState.DEGRADED, PluginState.QUARANTINED}:
        yield problem(name, status.last_error, _EXPLAIN if status.kind == Kind.ACCELERATOR else "see the agent's log")
    elif status.kind == Kind.ACCELERATOR:
        yield _devices(name, plugin, surveyed)
    else:
        yield ok(name, f"{status.distribution} {status.version}")
    if status.deprecation and plugin.present:
        yield warning(name, status.deprecation, f"upgrade {status.distribution}")
    for node in plugin.closed_nodes:
        yield problem(name, f"device node {node}", "run the agent as root, or add its user to that group")


def _devices(name: str, plugin: SurveyedPlugin, surveyed: Survey) -> Finding:
    mine = [each.device for each in surveyed.devices if each.device.vendor == plugin.status.provides]
    by = " by ".join(["", *(source.path or source.name for source in plugin.sources if source.in_use)])
    whole = sum(device.memory_bytes or 0 for device in mine)
    summary = f"{len(mine)} device{'' if len(mine) == 1 else 's'}, {size(whole) if whole else 'memory unknown'}{by}"
    sick = [
        f"{device.device_id}: {'; '.join(device.health_reasons) or 'unhealthy'}"
        for device in mine
        if device.health is Health.UNHEALTHY
    ]
    if sick:
        return problem(name, f"{summary}; {len(sick)} unhealthy: {' | '.join(sick[:3])}", _EXPLAIN)
    if plugin.status.last_error:
        return problem(name, f"{summary}; {plugin.status.last_error}", _EXPLAIN)
    return ok(name, summary)


def _unserved(surveyed: Survey) -> Iterator[Finding]:
    """Tell of cards whose vendor no installed plugin claims, blocked or not."""
    claimed = {sign for plugin in surveyed.plugins for sign in plugin.looked_for}
    for address, number in cards_on_the_bus():
        vendor = number.partition(":")[0]
        if not {f"PCI {vendor}", f"PCI {number}"} & claimed:
            yield warning(
                "bus",
                f"PCI device {address} ({number}) may be an accelerator, and no installed plugin serves it",
                "pip install its vendor's plugin into the agent's environment and restart the agent",
            )


def _absent(plugins_: Sequence[SurveyedPlugin]) -> Iterator[Finding]:
    absent = sorted(plugin.status.provides for plugin in plugins_ if not plugin.present)
    if absent:
        yield ok("accelerators", f"no hardware here of {', '.join(absent)}")
    blocked = sorted(plugin.status.plugin_id for plugin in plugins_ if plugin.status.state is PluginState.BLOCKED)
    if blocked:
        yield ok("plugins", f"blocked by the agent's configuration: {', '.join(blocked)}")


def _engines(surveyed: Survey, config: Config) -> Iterator[Finding]:
    engines = Engines(config.data_dir, config.cache_dir)
    wanted = [
        (backend, version.version)
        for backend, profile in sorted(surveyed.profiles.items())
        for version in profile.versions
        if version.environment is not None
    ]
    if not wanted:
        return
    if importlib.util.find_spec("venv") is None or not _has_pip():
        remedy = "on Debian and Ubuntu: apt-get install python3-venv"
        yield problem("engines", "this Python makes no environments: it lacks venv or pip", remedy)
        return
    stand = [f"{backend} {version}" for backend, version in wanted if engines.installed(backend, version)]
    there = f"installed: {', '.join(stand)}" if stand else "none is installed yet"
    yield ok(
        "engines", f"{there}; {len(wanted) - len(stand)} more at the first use, or by `motorpool-agent engine install`"
    )


def _has_pip() -> bool:
    return any(importlib.util.find_spec(name) is not None for name in ("pip", "ensurepip"))
