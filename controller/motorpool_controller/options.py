"""What the commands of ``motorpool-controller`` have in common: options, settings from them, faults in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer

from motorpool_controller import config
from motorpool_controller.config import ConfigError, Settings
from motorpool_controller.domain.errors import DomainError
from motorpool_controller.security.errors import AuthorityError, RotationError
from motorpool_controller.services.errors import ListenError
from motorpool_controller.store.errors import FencedError, StoreError
from motorpool_telemetry.errors import TelemetryError


class Exit(IntEnum):
    """Exit codes."""

    FAILED = 1
    USAGE = 2
    DATA_DIR = 5


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where the controller keeps its data.",
        show_default="/var/lib/motorpool/controller, not as root ~/.local/share/motorpool/controller",
    ),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file.", show_default=str(config.DEFAULT_FILE))]
Listen = Annotated[
    str | None, typer.Option(help="Public listener: people, programs, enrolment.", show_default="0.0.0.0:7400")
]
AgentsListen = Annotated[str | None, typer.Option(help="The agents' listener.", show_default="0.0.0.0:7401")]
Advertise = Annotated[
    list[str] | None,
    typer.Option(help="Host under which agents and clients reach this machine; may be repeated."),
]


def settings_of(
    data_dir: Path | None,
    config_file: Path | None,
    listen: str | None = None,
    agents_listen: str | None = None,
    advertise: list[str] | None = None,
    log_level: str | None = None,
    log_format: str | None = None,
    metrics_listen: str | None = None,
) -> Settings:
    """Return the settings that flags, variables and the file make."""
    flags: Mapping[str, str | Path | list[str] | None] = {
        "data_dir": data_dir,
        "listen": listen,
        "agents_listen": agents_listen,
        "advertise": advertise,
        "log_level": log_level,
        "log_format": log_format,
        "metrics_listen": metrics_listen,
    }
    return config.load(flags, file=config_file)


@contextmanager
def faults() -> Iterator[None]:
    """Tell a person what is wrong, in words, and exit as documented."""
    try:
        yield
    except ConfigError as error:
        _fail(str(error), Exit.USAGE)
    except DomainError as error:
        _fail(error.message, Exit.FAILED)
    except (FencedError, RotationError) as error:
        _fail(str(error), Exit.FAILED)
    except (StoreError, AuthorityError) as error:
        _fail(str(error), Exit.DATA_DIR)
    except (ListenError, TelemetryError) as error:
        _fail(str(error), Exit.USAGE)


def write_down(settings: Settings, command: str, target: str) -> None:
    """Write down what a command beside the controller changed."""
    from motorpool_controller.services import audit as audit_log  # noqa: PLC0415  # as in main
    from motorpool_controller.store.store import utc_now  # noqa: PLC0415

    record = audit_log.Record(
        time=utc_now(),
        method=f"motorpool-controller {command}",
        result="OK",
        actor=audit_log.local_actor(),
        target=target,
    )
    try:
        audit_log.append(settings.data_dir / audit_log.FILE, [record])
    except OSError as error:
        typer.echo(f"motorpool-controller: {settings.data_dir / audit_log.FILE}: {error.strerror}", err=True)


def _fail(message: str, code: Exit) -> None:
    typer.echo(f"motorpool-controller: {message}", err=True)
    raise typer.Exit(code)
