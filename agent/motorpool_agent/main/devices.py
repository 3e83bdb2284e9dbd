"""``motorpool-agent devices``: the devices of this machine, and with ``--explain`` how they were found."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from motorpool_agent.inventory import PluginState
from motorpool_agent.main.output import UNKNOWN, columns, shown, size
from motorpool_agent.main.survey import Survey, SurveyedDevice, SurveyedPlugin
from motorpool_sdk import Health, SourceReport

_COLUMNS = ("DEVICE", "VENDOR", "PRODUCT", "INDEX", "HEALTH", "MEMORY", "USED", "BUSY", "TEMP")


def as_text(survey: Survey, *, explain: bool) -> str:
    """Return the devices for people, then what is wrong with which of them; with ``explain`` how each was found."""
    lines = [_COLUMNS, *map(_row, survey.devices)] if survey.devices else []
    found = columns(lines) or ["no devices: models can still run on this machine's processors and memory"]
    wrong = [
        *(_troubled(each) for each in survey.devices if each.device.health is Health.UNHEALTHY),
        *(f"{each.status.plugin_id}: {shown(each.status.last_error)}" for each in survey.accelerators if each.fails),
    ]
    blocks = [found, wrong]
    if explain:
        blocks += [list(_explained(each, survey)) for each in survey.accelerators]
        if not survey.accelerators:
            blocks.append(["no vendor's plugin is installed here: pip install 'motorpool-agent[nvidia]' or its like"])
    elif not survey.devices or wrong:
        wrong.append("`motorpool-agent devices --explain` says what was looked for, and where")
    return "\n\n".join("\n".join(block) for block in blocks if block)


def as_data(survey: Survey) -> object:
    """Return everything that was found out, as plain data; an unknown is null."""
    return {
        "devices": [
            {**_plain(each.device), "usage": None if each.usage is None else _plain(each.usage)}
            for each in survey.devices
        ],
        "plugins": [
            {
                **_plain(each.status),
                "present": each.present,
                "looked_for": list(each.looked_for),
                "signs": list(each.signs),
                "closed_nodes": list(each.closed_nodes),
                "sources": [_plain(source) for source in each.sources],
            }
            for each in survey.accelerators
        ],
    }


def _plain(value: object) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(value)
    return plain


def _row(each: SurveyedDevice) -> tuple[str, ...]:
    device, usage = each.device, each.usage
    ratio = None if usage is None else usage.utilization_ratio
    celsius = None if usage is None else usage.temperature_celsius
    return (
        device.device_id,
        device.vendor,
        device.product,
        UNKNOWN if device.index is None else str(device.index),
        device.health.upper(),
        size(device.memory_bytes),
        size(None if usage is None else usage.used_bytes),
        UNKNOWN if ratio is None else f"{ratio:.0%}",
        UNKNOWN if celsius is None else f"{celsius:.0f} °C",
    )


def _troubled(each: SurveyedDevice) -> str:
    return f"{each.device.device_id}: {shown('; '.join(each.device.health_reasons)) or 'unhealthy'}"


def _explained(plugin: SurveyedPlugin, survey: Survey) -> Iterator[str]:
    status = plugin.status
    yield f"{status.plugin_id} ({status.distribution} {status.version}): {_outcome(plugin, survey)}"
    for sign in plugin.signs:
        yield f"  found     {sign}"
    if not plugin.present:
        yield f"  looked    {', '.join(plugin.looked_for)}"
    for source in plugin.sources:
        yield f"  {_source(source)}"
    for node in plugin.closed_nodes:
        yield f"  closed    {node}: run this as root, or give this user that group"
    if status.last_error:
        yield f"  error     {shown(status.last_error)}"


def _outcome(plugin: SurveyedPlugin, survey: Survey) -> str:
    if plugin.status.state is PluginState.BLOCKED:
        return "blocked by the agent's configuration (allow_plugins, block_plugins)"
    if not plugin.present:
        return "none of its hardware is here"
    count = sum(each.device.vendor == plugin.status.provides for each in survey.devices)
    return f"{plugin.status.state}, {count} device{'' if count == 1 else 's'}"


def _source(source: SourceReport) -> str:
    name = shown(f"{source.name} at {source.path}" if source.path else source.name)
    if source.failure:
        return f"failed    {name}: {shown(source.failure)}"
    return f"in use    {name}" if source.in_use else f"unused    {name}: another one answered before"
