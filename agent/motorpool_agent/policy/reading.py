"""The policy's file: TOML that the machine's operator owns, read anew for every launch."""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

from motorpool_agent.policy import floor
from motorpool_agent.policy.rules import BackendRules, Policy

DEFAULT_FILE = Path("/etc/motorpool/policy.toml")
_MOST_BYTES = 1 << 20
_LISTS = ("roots", "executables", "images", "denied_options", "denied_environment", "devices")
_SWITCHES = ("host_network", "remote_code")
_OF_BACKENDS = ("executables", "images", "denied_options")


class PolicyError(Exception):
    """The policy's file cannot be followed: where it stands, what is wrong with it, and what to do."""


def read(file: Path, *, required: bool) -> Policy:
    """Return the policy of a file, or the one that holds without one; raise ``PolicyError``.

    A file says all that is allowed: of programs, images and folders that it does not name there are none. One that
    others than root and this process' user may write decides nothing.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        if not required:
            return Policy()
        raise PolicyError(f"the launch policy {file} is not there; write it, or correct `policy_file`") from error
    except OSError as error:
        raise PolicyError(
            f"the launch policy {file} cannot be read: {error.strerror}; see that this user may read it"
        ) from error
    try:
        _trusted(file, os.fstat(descriptor))
        with open(descriptor, "rb", closefd=False) as opened:
            text = opened.read(_MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(text) > _MOST_BYTES:
        raise PolicyError(f"the launch policy {file} is larger than 1 MiB; shorten it")
    try:
        table = tomllib.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise PolicyError(f"the launch policy {file} is no TOML: {error}; correct it") from error
    return _policy(file, table)


def _trusted(file: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise PolicyError(f"the launch policy {file} is no regular file; put a TOML file there")
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PolicyError(
            f"the launch policy {file} may be written by others (owner {found.st_uid}, mode "
            f"{stat.S_IMODE(found.st_mode):04o}); `chown root {file} && chmod 644 {file}`"
        )


def _policy(file: Path, table: Mapping[str, object]) -> Policy:
    _known(file, "", table, (*_LISTS, *_SWITCHES, "backends"))
    lists = {name: _list(file, name, table.get(name, [])) for name in _LISTS}
    for root in lists["roots"]:
        if not root.startswith("/"):
            raise PolicyError(f"{file}: roots has {root!r}; give absolute paths")
    backends = table.get("backends", {})
    if not isinstance(backends, Mapping):
        raise PolicyError(f"{file}: backends is no table; write [backends.NAME]")
    return Policy(
        source=str(file),
        roots=lists["roots"],
        executables=lists["executables"],
        images=lists["images"],
        denied_options=lists["denied_options"],
        denied_environment=lists["denied_environment"],
        devices=lists["devices"] if "devices" in table else floor.DEVICES,
        host_network=_switch(file, "host_network", table.get("host_network", False)),
        remote_code=_switch(file, "remote_code", table.get("remote_code", False)),
        backends={name: _backend(file, f"backends.{name}", each) for name, each in backends.items()},
    )


def _backend(file: Path, where: str, table: object) -> BackendRules:
    if not isinstance(table, Mapping):
        raise PolicyError(f"{file}: {where} is no table; write [{where}]")
    _known(file, where, table, _OF_BACKENDS)
    return BackendRules(
        executables=_list(file, f"{where}.executables", table["executables"]) if "executables" in table else None,
        images=_list(file, f"{where}.images", table["images"]) if "images" in table else None,
        denied_options=_list(file, f"{where}.denied_options", table.get("denied_options", [])),
    )


def _known(file: Path, where: str, table: Mapping[str, object], names: tuple[str, ...]) -> None:
    for name in table:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            meant = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"
            raise PolicyError(f"{file}: there is no {'.'.join(filter(None, (where, name)))!r} in a policy{meant}")


def _list(file: Path, name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(each, str) and each and "\0" not in each for each in value):
        return tuple(value)
    raise PolicyError(f'{file}: {name} is no list of texts; write {name.rpartition(".")[2]} = ["…"]')


def _switch(file: Path, name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise PolicyError(f"{file}: {name} is neither true nor false")
