"""The agent's configuration: flags, then MOTORPOOL_* variables, then a TOML file, then defaults."""

from __future__ import annotations

import difflib
import os
import socket
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from motorpool_agent.config import values

DEFAULT_FILE = Path("/etc/motorpool/agent.toml")
ENVIRONMENT_PREFIX = "MOTORPOOL_"
# Not MOTORPOOL_CONFIG: that names the client's file, and one shell may well have both.
_FILE_VARIABLE = "MOTORPOOL_AGENT_CONFIG"
_SHOWN_CHARACTERS = 80


class ConfigError(Exception):
    """A setting with a bad value: where it stands, what it is, and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the operator set. ``node_ip`` is None where the agent is to find its address out by itself."""

    node_name: str
    data_dir: Path
    cache_dir: Path
    node_ip: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    server: str | None = None
    join_token: str | None = field(default=None, repr=False)
    join_token_file: Path | None = None
    port_range: range = range(24000, 24064)
    reserved_memory_bytes: int = 1 << 30
    reserved_device_memory_bytes: int = 0
    reserved_disk_bytes: int = 5 << 30
    model_dir: Path | None = None
    hf_endpoint: str | None = None
    hf_token_file: Path | None = None
    modelscope_endpoint: str | None = None
    modelscope_token_file: Path | None = None
    allow_plugins: tuple[str, ...] | None = None
    block_plugins: tuple[str, ...] = ()
    use_proxy: bool = False
    engine_proxy: bool = False
    bare_executor: str = "auto"
    policy_file: Path | None = None
    launcher: Path | None = None
    inference_probe_seconds: float = 60.0
    disk_low_bytes: int = 1 << 30
    memory_low_bytes: int = 256 << 20
    first_attempts: int = 1
    last_attempts: int = 4
    log_level: str = "info"
    log_format: str = "text"
    metrics_listen: str | None = None
    tracing_endpoint: str | None = None

    @property
    def models(self) -> Path:
        """Where models are kept that were fetched."""
        return self.model_dir or self.data_dir / "models"

    def token(self) -> str | None:
        """Return the join token, from its file where one is named; None without one."""
        if self.join_token_file is None:
            return self.join_token
        try:
            return self.join_token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"join_token_file {self.join_token_file} cannot be read: {error}; "
                "put the output of `motorpool-controller token join` into it"
            ) from error


_SETTINGS: Mapping[str, Callable[[object], object]] = {
    "node_name": values.dns_label,
    "node_ip": values.host,
    "data_dir": values.path,
    "cache_dir": values.path,
    "labels": values.labels,
    "server": values.endpoint,
    "join_token": values.text,
    "join_token_file": values.path,
    "port_range": values.port_range,
    "reserved_memory": values.size_bytes,
    "reserved_device_memory": values.size_bytes,
    "reserved_disk": values.size_bytes,
    "model_dir": values.path,
    "hf_endpoint": values.address,
    "hf_token_file": values.path,
    "modelscope_endpoint": values.address,
    "modelscope_token_file": values.path,
    "allow_plugins": values.names,
    "block_plugins": values.names,
    "use_proxy": values.boolean,
    "engine_proxy": values.boolean,
    "bare_executor": values.bare_executor,
    "policy_file": values.path,
    "launcher": values.path,
    "inference_probe": values.seconds,
    "disk_low": values.size_bytes,
    "memory_low": values.size_bytes,
    "first_attempts": values.attempts,
    "last_attempts": values.attempts,
    "log_level": values.log_level,
    "log_format": values.log_format,
    "metrics_listen": values.listener,
    "tracing_endpoint": values.collector,
}
_FIELDS = {
    "reserved_memory": "reserved_memory_bytes",
    "reserved_device_memory": "reserved_device_memory_bytes",
    "reserved_disk": "reserved_disk_bytes",
    "inference_probe": "inference_probe_seconds",
    "disk_low": "disk_low_bytes",
    "memory_low": "memory_low_bytes",
}
_SECRET = frozenset({"join_token"})


def load(
    flags: Mapping[str, str | Sequence[str] | bool | None],
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Config:
    """Return the configuration; a ConfigError names the source, the value and what is allowed.

    ``flags`` go by setting name (``node_name``); one that is None or empty was not given. Labels of several sources are
    merged, key by key; every other setting is taken whole from the first source that has it.
    """
    environment = os.environ if environment is None else environment
    settings: dict[str, object] = {}
    for source in (
        _from_file(file, environment),
        _from_environment(environment),
        _from_flags(flags),
    ):
        for name, value in source.items():
            if name == "labels":
                settings["labels"] = {**_mapping(settings.get("labels")), **_mapping(value)}
            else:
                if name in {"join_token", "join_token_file"}:
                    settings.pop("join_token", None)
                    settings.pop("join_token_file", None)
                settings[name] = value
    settings.setdefault("node_name", default_node_name(socket.gethostname()))
    if "data_dir" not in settings:
        settings["data_dir"] = _default_dir("data_dir", "/var/lib/motorpool/agent", ".local/share/motorpool/agent")
    if "cache_dir" not in settings:
        settings["cache_dir"] = _default_dir("cache_dir", "/var/cache/motorpool", ".cache/motorpool")
    return Config(**{_FIELDS.get(name, name): value for name, value in settings.items()})  # type: ignore[arg-type]  # each parser returns its field's type


def default_node_name(hostname: str) -> str:
    """Return the DNS label that a host name makes: its first part, lower-cased, other signs as dashes."""
    first = hostname.split(".", maxsplit=1)[0].lower()
    label = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in first)
    return label[:63].strip("-") or "node"


def _from_flags(flags: Mapping[str, str | Sequence[str] | bool | None]) -> dict[str, object]:
    given = {name: value for name, value in flags.items() if value is not None and value not in ((), [])}
    both = {"join_token", "join_token_file"} <= given.keys()
    if both:
        raise ConfigError("flags --token and --token-file: give one of them")
    return {name: _parsed(f"flag {_flag(name)}", name, value) for name, value in given.items()}


def _flag(name: str) -> str:
    singular = {"labels": "label", "allow_plugins": "allow-plugin", "block_plugins": "block-plugin"}
    return "--" + singular.get(name, name.removeprefix("join_").replace("_", "-"))


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in _SETTINGS:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if environment.get(variable):
            found[name] = _parsed(f"environment variable {variable}", name, environment[variable])
    if {"join_token", "join_token_file"} <= found.keys():
        raise ConfigError("environment variables MOTORPOOL_JOIN_TOKEN and MOTORPOOL_JOIN_TOKEN_FILE: set one of them")
    return found


def _from_file(file: Path | None, environment: Mapping[str, str]) -> dict[str, object]:
    if file is None and environment.get(_FILE_VARIABLE):
        file = Path(environment[_FILE_VARIABLE])
    if file is None:
        if not DEFAULT_FILE.exists():
            return {}
        file = DEFAULT_FILE
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration file {file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # tomllib raises both, and TOMLDecodeError is a ValueError
        raise ConfigError(f"configuration file {file} is not TOML that can be read: {error}") from error
    for key in table:
        if key not in _SETTINGS:
            near = difflib.get_close_matches(key, _SETTINGS, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known keys: {', '.join(_SETTINGS)}"
            raise ConfigError(f"{file}: {key} is not a setting; {hint}")
    if {"join_token", "join_token_file"} <= table.keys():
        raise ConfigError(f"{file}: join_token and join_token_file are both set; keep one of them")
    return {key: _parsed(f"{file}: {key}", key, value) for key, value in table.items()}


def _parsed(source: str, name: str, value: object) -> object:
    try:
        return _SETTINGS[name](value)
    except values.NotAllowedError as error:
        shown = "" if name in _SECRET else f" is {str(value)[:_SHOWN_CHARACTERS]!r}, which"
        raise ConfigError(f"{source}{shown} is not allowed: {error}") from error


def _mapping(value: object) -> Mapping[str, str]:
    return value if isinstance(value, dict) else {}


def _default_dir(name: str, system: str, personal: str) -> Path:
    if os.geteuid() == 0:
        return Path(system)
    try:
        return Path.home() / personal
    except RuntimeError as error:
        raise ConfigError(f"this user has no home directory: name a folder with {_flag(name)}") from error
