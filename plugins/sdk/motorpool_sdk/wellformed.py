"""What is wrong with a plugin's answers, beyond their types.

The agent asks it of every answer, the contracts in ``testing`` of every test.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from motorpool_sdk.accelerator import Device, Exposure, Sample
from motorpool_sdk.backend import Definition, Launch, MemoryModel, Option, Profile, Version
from motorpool_sdk.failures import failure_faults
from motorpool_sdk.gang import HTTP, DistributedStyle
from motorpool_sdk.manifest import Manifest

RULES = ("vllm", "sglang", "mindie", "gguf", "fixed", "generic_fraction")
_OWN_FRACTION = ("sglang", "mindie")
"""Rules that know the fraction where nobody gives one: by the size of the device, by the version."""
_EXECUTORS = ("process", "docker", "systemd")
_MOST_INTEGER = 2**63 - 1
_MOST_INDEX = 2**31 - 1
_MOST_PORT = 65_535
_MOST_SECONDS = 7 * 24 * 3600.0
_OPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_RUNTIME = re.compile(r"\d+(\.\d+)*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_STYLE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_MOST_PORTS = 64
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def profile_faults(profile: Profile, manifest: Manifest) -> tuple[str, ...]:
    """Return what is wrong with a backend's profile, each as a clause that names the field."""
    return tuple(_profile_faults(profile, manifest))


def launch_faults(
    launch: Launch, manifest: Manifest, api_key: str = "", definition: Definition | None = None
) -> tuple[str, ...]:
    """Return what is wrong with a launch: its arguments, its environment, and a key where it would show.

    It may set the variables that the manifest lists, and those of the ``definition`` that it was asked to launch.
    """
    return tuple(_launch_faults(launch, manifest, api_key, definition))


def device_faults(device: Device, manifest: Manifest) -> tuple[str, ...]:
    """Return what is wrong with one device."""
    return tuple(_device_faults(device, manifest))


def sample_faults(sample: Sample) -> tuple[str, ...]:
    """Return what is wrong with one measurement."""
    return tuple(_sample_faults(sample))


def exposure_faults(exposure: Exposure, manifest: Manifest) -> tuple[str, ...]:
    """Return what is wrong with how devices are handed over."""
    return (
        *_env_faults("env", exposure.env, manifest.sets_env),
        *_env_faults("container_env", exposure.container_env or {}, manifest.sets_env),
    )


def _profile_faults(profile: Profile, manifest: Manifest) -> Iterator[str]:
    if profile.backend != manifest.provides:
        yield f"backend is {profile.backend!r}, and the manifest provides {manifest.provides!r}"
    if profile.runs_declared:
        yield from _runner_faults(profile)
    elif not profile.versions:
        yield "versions is empty"
    yield from _repeated("versions", (version.version for version in profile.versions))
    for version in profile.versions:
        yield from _version_faults(version)
    if profile.rules not in RULES:
        yield f"rules is {profile.rules!r}; the controller knows {', '.join(RULES)}"
    for alias in profile.aliases:
        if not _ALIAS.fullmatch(alias):
            yield f"aliases has {alias!r}"
    if profile.memory_model is MemoryModel.FRACTION:
        default = profile.fraction_default
        missing = default is None and profile.rules not in _OWN_FRACTION
        if not profile.fraction_option or missing or (default is not None and not 0 < default <= 1):
            yield "memory_model is fraction, and fraction_option or fraction_default (above 0, up to 1) is missing"
    if not profile.formats and profile.memory_model is not MemoryModel.FIXED:
        yield "formats is empty, which means any: that is for a backend whose memory_model is fixed"
    yield from _integer_fault("most_devices", profile.most_devices, most=_MOST_INDEX)
    if not profile.categories and not profile.runs_declared:
        yield "categories is empty"
    yield from _option_faults(profile.options)
    yield from _repeated("distributed_styles", (style.style for style in profile.distributed_styles))
    for style in profile.distributed_styles:
        yield from _style_faults(style)
    yield from _path_fault("health_path", profile.health_path)
    yield from _path_fault("metrics_path", profile.metrics_path)
    yield from _seconds_fault("start_timeout_seconds", profile.start_timeout_seconds)
    yield from _seconds_fault("stop_grace_seconds", profile.stop_grace_seconds)
    yield from failure_faults(profile.failures)


def _runner_faults(profile: Profile) -> Iterator[str]:
    if profile.versions:
        yield "versions is not empty, and it runs_declared: what is declared brings its own"
    if profile.memory_model is not MemoryModel.FIXED or profile.rules != "fixed":
        yield "memory_model and rules are not fixed, and it runs_declared: their needs are what is claimed"


def _version_faults(version: Version) -> Iterator[str]:
    if not _VERSION.fullmatch(version.version):
        yield f"versions has {version.version!r}; use letters, digits and ._+- only"
    if not version.frameworks:
        yield f"version {version.version} has no frameworks"
    for executor in version.executors or ("",):
        if executor not in _EXECUTORS:
            yield f"version {version.version} names the executor {executor!r}; there are {', '.join(_EXECUTORS)}"
    for framework, least in version.least_runtimes.items():
        if framework not in version.frameworks or not _RUNTIME.fullmatch(least):
            yield f"version {version.version} needs {framework} {least!r}; name one of its frameworks, and e.g. 12.8"
    if version.environment is None:
        return
    if not version.environment.requirements:
        yield f"version {version.version} has an environment without requirements"
    for requirement in version.environment.requirements:
        if "==" not in requirement or requirement.startswith("-"):
            yield f"version {version.version} requires {requirement!r}; pin it exactly, as name==version"
    for name in version.environment.files:
        if not _FILE.fullmatch(name):
            yield f"version {version.version} has the file {name!r}; use a plain file name"


def _option_faults(options: Sequence[Option]) -> Iterator[str]:
    names = [name for option in options for name in (option.name, *option.aliases)]
    yield from _repeated("options", names)
    for name in names:
        if not _OPTION.fullmatch(name):
            yield f"options has {name!r}; write names without leading dashes"
    known = {option.name for option in options}
    for option in options:
        for other in (*([option.below] if option.below else []), *option.excludes):
            if other not in known:
                yield f"option {option.name} names {other!r}, which is none of the options"
        if option.default and option.choices and option.default not in option.choices:
            yield f"option {option.name} has the default {option.default!r}, which is none of its choices"


def _style_faults(style: DistributedStyle) -> Iterator[str]:
    if not _STYLE.fullmatch(style.style):
        yield f"distributed_styles has {style.style!r}; use lower-case letters, digits and underscores"
    for ports in (style.leader_ports, style.follower_ports):
        yield from _repeated(f"ports of style {style.style}", (HTTP, *(port.name for port in ports)))
        for port in ports:
            if not _STYLE.fullmatch(port.name):
                yield f"style {style.style} names a port {port.name!r}; use lower-case letters, digits and underscores"
            if not 0 < port.count <= _MOST_PORTS:
                yield f"style {style.style} wants {port.count} ports as {port.name}; it is from 1 to {_MOST_PORTS}"


def _launch_faults(launch: Launch, manifest: Manifest, api_key: str, definition: Definition | None) -> Iterator[str]:
    if not launch.image and (not launch.argv or not launch.argv[0]):
        yield "argv names no program"
    for argument in (*launch.entrypoint, *launch.argv):
        if "\0" in argument:
            yield "argv has an argument with a NUL"
    if api_key:
        if any(api_key in argument for argument in (*launch.entrypoint, *launch.argv)):
            yield "argv shows the API key; put it into secrets"
        if any(api_key in value for value in launch.env.values()):
            yield "env shows the API key; put it into secrets"
    defined = () if definition is None else (*definition.env, definition.api_key_env)
    yield from _env_faults("env", launch.env, {*manifest.sets_env, *defined})
    yield from _env_faults("secrets", launch.secrets, {*manifest.sets_env, *defined})
    if launch.container_port is not None and not (launch.image and 0 < launch.container_port <= _MOST_PORT):
        yield f"container_port is {launch.container_port}; it is from 1 to {_MOST_PORT}, and for images"
    if not launch.serves and (launch.readiness or launch.inference):
        yield "it serves nothing, and has a probe"
    if launch.inference is not None:
        yield from _path_fault("inference.path", launch.inference.path or "?")
        yield from _seconds_fault("inference.timeout_seconds", launch.inference.timeout_seconds)
        if not _is_json(launch.inference.body):
            yield "inference.body is not JSON"
    yield from _file_faults(launch, api_key)
    yield from _seconds_fault("start_timeout_seconds", launch.start_timeout_seconds)
    yield from _seconds_fault("stop_grace_seconds", launch.stop_grace_seconds)
    if launch.readiness is not None:
        yield from _path_fault("readiness.path", launch.readiness.path or "?")
        yield from _path_fault("readiness.models_path", launch.readiness.models_path)
        yield from _seconds_fault("readiness.period_seconds", launch.readiness.period_seconds)
        yield from _seconds_fault("readiness.timeout_seconds", launch.readiness.timeout_seconds)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _file_faults(launch: Launch, api_key: str) -> Iterator[str]:
    yield from _repeated("files", (str(file.path) for file in launch.files))
    for file in launch.files:
        if not file.path.is_absolute() or ".." in file.path.parts or not file.path.name:
            yield f"files has {str(file.path)!r}; name an absolute path"
        if api_key and api_key in file.text and not file.secret:
            yield f"file {file.path} shows the API key; make it secret"
        if "\0" in file.text:
            yield f"file {file.path} has a NUL"
        if file.onto is not None and not _is_object(file.text):
            yield f"file {file.path} goes onto {file.onto}, and its text is no JSON object"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _env_faults(what: str, env: Mapping[str, str], allowed: Collection[str]) -> Iterator[str]:
    for name in env.keys() - set(allowed):
        yield f"{what} sets {name}, which the manifest's sets_env does not list"
    for name, value in env.items():
        if "\0" in value:
            yield f"{what} sets {name} to a text with a NUL"


def _device_faults(device: Device, manifest: Manifest) -> Iterator[str]:
    if not device.device_id or len(device.device_id) > 256:
        yield "device_id must have 1 to 256 characters"
    if device.vendor != manifest.provides:
        yield f"vendor is {device.vendor!r}, and the manifest provides {manifest.provides!r}"
    if not device.framework:
        yield "framework is empty"
    yield from _integer_fault("memory_bytes", device.memory_bytes, least=1)
    yield from _integer_fault("index", device.index, most=_MOST_INDEX)
    yield from _integer_fault("numa_node", device.numa_node, most=_MOST_INDEX)
    for link in device.links:
        yield from _integer_fault("links.bandwidth_bytes_per_second", link.bandwidth_bytes_per_second)


def _sample_faults(sample: Sample) -> Iterator[str]:
    yield from _integer_fault("used_bytes", sample.used_bytes)
    ratio = sample.utilization_ratio
    if ratio is not None and not 0 <= ratio <= 1:
        yield f"utilization_ratio is {ratio}; it goes from 0 to 1"
    for name, value in (("temperature_celsius", sample.temperature_celsius), ("power_watts", sample.power_watts)):
        if value is not None and not math.isfinite(value):
            yield f"{name} is {value}"
    for process in sample.processes:
        yield from _integer_fault("processes.pid", process.pid, least=1)
        yield from _integer_fault("processes.used_bytes", process.used_bytes)


def _repeated(what: str, names: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{what} has {name!r} {count} times"


def _path_fault(what: str, path: str) -> Iterator[str]:
    if path and not path.startswith("/"):
        yield f"{what} is {path!r}; a path starts with /"


def _seconds_fault(what: str, seconds: float) -> Iterator[str]:
    if not 0 < seconds <= _MOST_SECONDS:
        yield f"{what} is {seconds}; it is above 0 and at most a week"


def _integer_fault(what: str, value: int | None, least: int = 0, most: int = _MOST_INTEGER) -> Iterator[str]:
    if value is not None and not least <= value <= most:
        yield f"{what} is {value}; it goes from {least} to {most}, or is None when unknown"
