"""The controller's configuration: flags, then MOTORPOOL_CONTROLLER_* variables, then a TOML file, then defaults."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from motorpool_controller.reconcile.world import Settings as ReconcileSettings

DEFAULT_FILE = Path("/etc/motorpool/controller.toml")
ENVIRONMENT_PREFIX = "MOTORPOOL_CONTROLLER_"
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
_SHOWN_CHARACTERS = 80
_COLLECTOR = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+:[0-9]{1,5}/?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


class ConfigError(Exception):
    """A setting with a bad value: where it stands, what it is, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host name or address without brackets, and a port; 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def wildcard(self) -> bool:
        """Whether it listens on every address of the machine."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104  # compared, not bound


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """Where a PostgreSQL database is, as libpq reads it. It may hold a password: no text of ours ever shows it."""

    url: str = field(repr=False)
    password_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator set. Times are in seconds."""

    data_dir: Path
    database_url: PostgresUrl | None = None
    database_password_file: Path | None = None
    listen: Address = Address("0.0.0.0", 7400)  # noqa: S104  # a server for a fleet; TLS and tokens guard it
    agents_listen: Address = Address("0.0.0.0", 7401)  # noqa: S104  # as above; client certificates guard it
    advertise: tuple[str, ...] = ()
    heartbeat_seconds: float = 10.0
    heartbeats_per_second: float = 500.0
    lease_periods: int = 4
    hellos_at_once: int = 16
    sessions_per_second: float = 200.0
    enrolments_per_second: float = 20.0
    session_max_age_seconds: float = 86_400.0
    leader_lease_seconds: float = 15.0
    shutdown_grace_seconds: float = 2.0
    drain_seconds: float = 10.0
    mass_failure_fraction: float = 0.34
    mass_failure_nodes: int = 3
    mass_failure_window_seconds: float = 600.0
    hub_seconds: float = 120.0
    hub_look_ups_at_once: int = 4
    log_level: str = "info"
    log_format: str = "text"
    metrics_listen: Address | None = None
    tracing_endpoint: str | None = None

    @property
    def database(self) -> Path | PostgresUrl:
        """Where the store is: a file of ours, or a PostgreSQL database."""
        if self.database_url is None:
            return self.database_file
        return replace(self.database_url, password_file=self.database_password_file)

    @property
    def database_file(self) -> Path:
        """The store's file where it is one."""
        return self.data_dir / "controller.db"

    @property
    def catalog(self) -> Path:
        """Where what hubs said of models is kept; may be emptied at any time."""
        return self.data_dir / "catalog"

    @property
    def reconcile(self) -> ReconcileSettings:
        """What deciding needs to know."""
        return ReconcileSettings(
            drain_seconds=self.drain_seconds,
            mass_failure_fraction=self.mass_failure_fraction,
            mass_failure_nodes=self.mass_failure_nodes,
            mass_failure_window_seconds=self.mass_failure_window_seconds,
        )

    def heartbeat_period_seconds(self, nodes: int) -> float:
        """Return the period for a fleet of so many nodes: stretched so that it stays below the most per second."""
        return max(self.heartbeat_seconds, nodes / self.heartbeats_per_second)

    def return_seconds(self, nodes: int) -> float:
        """Return over how long a fleet of so many nodes comes back once the controller was away."""
        return nodes / self.sessions_per_second

    def lease_seconds(self, nodes: int) -> float:
        """Return how long a node counts as alive after a heartbeat."""
        return self.heartbeat_period_seconds(nodes) * self.lease_periods


def load(
    flags: Mapping[str, str | int | float | Path | Sequence[str] | None],
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Return the settings; a ConfigError names the source, the value and what is allowed.

    ``flags`` go by setting name (``data_dir``); one that is None or empty was not given.
    """
    environment = os.environ if environment is None else environment
    given = {name: value for name, value in flags.items() if value is not None and value not in ((), [])}
    values: dict[str, object] = {
        **_from_file(file, environment),
        **_from_environment(environment),
        **{name: _parsed(f"flag --{name.replace('_', '-')}", name, value) for name, value in given.items()},
    }
    if "data_dir" not in values:
        values["data_dir"] = default_data_dir()
    values["database_url"] = values.pop("database", None)
    if values["database_url"] is None and "database_password_file" in values:
        raise ConfigError("database_password_file is set, and database is not: name the database, or leave both out")
    return Settings(**values)  # type: ignore[arg-type]  # each parser returns its field's type


def default_data_dir() -> Path:
    """Return where the controller keeps its data unless told otherwise."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/motorpool/controller")
    try:
        return Path.home() / ".local/share/motorpool/controller"
    except RuntimeError as error:
        raise ConfigError("this user has no home directory: name a folder for the data with --data-dir") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    return {
        name: _parsed(f"environment variable {variable}", name, environment[variable])
        for name in _SETTINGS
        if environment.get(variable := ENVIRONMENT_PREFIX + name.upper())
    }


def _from_file(file: Path | None, environment: Mapping[str, str]) -> dict[str, object]:
    if file is None and environment.get(ENVIRONMENT_PREFIX + "CONFIG"):
        file = Path(environment[ENVIRONMENT_PREFIX + "CONFIG"])
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
    return {key: _parsed(f"{file}: {key}", key, value) for key, value in table.items()}


def _parsed(source: str, name: str, value: object) -> object:
    try:
        return _SETTINGS[name](value)
    except ValueError as error:
        text = str(value)
        shown = "not shown" if name in _SECRET and set(text) & set("@:=") else repr(text)[:_SHOWN_CHARACTERS]
        raise ConfigError(f"{source} is {shown}, which is not allowed: {error}") from error


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("a path")
    try:
        path = Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError("a path; ~ stands for a home directory, and there is none") from error
    if not path.is_absolute():
        path = Path.cwd() / path
    return path


def _database(value: object) -> PostgresUrl:
    if not isinstance(value, str) or not re.match(r"postgres(ql)?://", value):
        raise ValueError(
            "a URL as postgresql://USER@HOST:5432/NAME; without this setting the store is a file in the data directory"
        )
    return PostgresUrl(value)


def _address(value: object) -> Address:
    allowed = "HOST:PORT, e.g. 0.0.0.0:7400, [::]:7400 or controller.example:7400; port 0 takes a free one"
    if not isinstance(value, str):
        raise ValueError(allowed)  # noqa: TRY004  # the caller's one kind of refusal
    host, colon, port = value.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{allowed}; an IPv6 address stands in brackets")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535 or not _HOST.fullmatch(host):
        raise ValueError(allowed)
    return Address(host, int(port))


def _collector(value: object) -> str:
    if not isinstance(value, str) or not _COLLECTOR.fullmatch(value):
        raise ValueError("http://HOST:PORT or https://HOST:PORT of an OpenTelemetry collector's gRPC, e.g. port 4317")
    return value


def _hosts(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
        raise ValueError("host names or addresses without ports; several in a list, or with commas between them")
    hosts = tuple(str(part).strip().strip("[]") for part in parts)
    for host in hosts:
        if not _HOST.fullmatch(host) or host in {"0.0.0.0", "::"}:  # noqa: S104  # refused, not bound
            raise ValueError(
                f"{host!r} is no host name or address under which agents and clients could reach this machine"
            )
    return hosts


def _number(least: float, most: float) -> Callable[[object], float]:
    def parse(value: object) -> float:
        try:
            number = float(value) if isinstance(value, str | int | float) else None
        except ValueError:
            number = None
        if number is None or isinstance(value, bool) or not least <= number <= most:
            raise ValueError(f"a number from {least:g} to {most:g}")
        return number

    return parse


def _integer(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        try:
            number = int(value) if isinstance(value, str | int) else None
        except ValueError:
            number = None
        if number is None or isinstance(value, bool) or not least <= number <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return number

    return parse


def _one_of(*allowed: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value.lower() not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return value.lower()

    return parse


_SECRET = frozenset({"database"})
"""Settings whose values are not shown: they may hold a password."""

_SETTINGS: Mapping[str, Callable[[object], object]] = {
    "data_dir": _path,
    "database": _database,
    "database_password_file": _path,
    "listen": _address,
    "agents_listen": _address,
    "advertise": _hosts,
    "heartbeat_seconds": _number(0.1, 3_600),
    "heartbeats_per_second": _number(1, 1_000_000),
    "lease_periods": _integer(2, 100),
    "hellos_at_once": _integer(1, 10_000),
    "sessions_per_second": _number(1, 1_000_000),
    "enrolments_per_second": _number(0.1, 100_000),
    "session_max_age_seconds": _number(1, 31_536_000),
    "leader_lease_seconds": _number(1, 3_600),
    "shutdown_grace_seconds": _number(0, 60),
    "drain_seconds": _number(0, 3_600),
    "mass_failure_fraction": _number(0, 1),
    "mass_failure_nodes": _integer(1, 1_000_000),
    "mass_failure_window_seconds": _number(0, 86_400),
    "hub_seconds": _number(1, 3_600),
    "hub_look_ups_at_once": _integer(1, 64),
    "log_level": _one_of(*LOG_LEVELS),
    "log_format": _one_of(*LOG_FORMATS),
    "metrics_listen": _address,
    "tracing_endpoint": _collector,
}
