"""What a controller may ask for in words: variables, parameters, names. Nothing of it reaches an engine unlooked at."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from motorpool_agent.policy import floor
from motorpool_agent.policy.denials import DeniedError
from motorpool_agent.policy.places import check_place, resolved
from motorpool_agent.policy.rules import Policy

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPTION = re.compile(r"-{0,2}[A-Za-z0-9][A-Za-z0-9_.+-]*")
_LOOKS_LIKE_AN_OPTION = re.compile(r"--?[A-Za-z]")
_SEPARATORS = re.compile(r"[,;=\s]")
_SHOWN_CHARACTERS = 80


def check_environment(policy: Policy, stated: Iterable[tuple[str, str]]) -> None:
    """Raise ``DeniedError`` if a variable reaches into how programs are loaded, or is malformed."""
    for name, value in stated:
        if not _NAME.fullmatch(name) or "\0" in value:
            raise DeniedError(
                f"environment variable {_shown(name)} is malformed; correct the deployment or declaration", final=True
            )
        if floor.denies(name):
            raise DeniedError(
                f"environment variable {name} is denied by this agent's launch policy: it changes which code runs; "
                "remove it from the deployment or declaration",
                final=True,
            )
        if any(fnmatchcase(name, pattern) for pattern in policy.denied_environment):
            raise DeniedError(
                f"environment variable {name} is denied by {policy.source}: denied_environment; remove it from the "
                "deployment or declaration"
            )


def check_name(text: str, what: str) -> None:
    """Raise ``DeniedError`` for a text that an engine would read as one of its options."""
    if _LOOKS_LIKE_AN_OPTION.match(text):
        raise DeniedError(f"{what} {_shown(text)} begins like an option; choose another", final=True)


def check_option(policy: Policy, backend: str, option: str, owned: Mapping[str, str], known: Iterable[str]) -> None:
    """Raise ``DeniedError`` for a parameter that is Motorpool's own to set, under whatever spelling an engine takes.

    ``owned`` are names and aliases that belong to Motorpool, each with the name it is known by; ``known`` are all
    others that the backend has. Engines take underscores for dashes, ``--name=value``, parts of JSON as ``--name.key``,
    and many take the beginning of a name for the name.
    """
    word = option.partition("=")[0]
    if not _OPTION.fullmatch(word):
        raise DeniedError(f"parameter {_shown(option)} is not the name of an option; correct it", final=True)
    bare = word.lstrip("-")
    whole = bare.replace("_", "-")
    name = whole.partition(".")[0].rstrip("+")
    others = {*known}
    whose = owned.get(bare) or owned.get(whole) or owned.get(name)
    if whose is None and word.startswith("--") and name not in others:
        whose = next((canonical for each, canonical in owned.items() if each.startswith(name)), None)
    if whose is not None and not {bare, whole} & others:
        raise DeniedError(
            f"parameter {_shown(option)} of backend {backend} means --{whose}, which is Motorpool's own to set or "
            "gives away the node; remove it from the deployment",
            final=True,
        )
    if any(part in floor.LOADING_KEYS for part in bare.replace("-", "_").split(".")[1:]):
        raise DeniedError(f"parameter {_shown(option)} names code to load; remove it from the deployment", final=True)
    for pattern in policy.denied_options_of(backend):
        if fnmatchcase(name, pattern.lstrip("-").replace("_", "-")):
            raise DeniedError(
                f"parameter {_shown(option)} is denied by {policy.source}: denied_options has {pattern!r}; remove it "
                "from the deployment"
            )


def check_values(
    policy: Policy, option: str, values: Sequence[str], *, folder: Path | None, own: Iterable[Path] = ()
) -> None:
    """Raise ``DeniedError`` for a value that is read as an option, names code, or names a file outside the roots.

    Files count from ``folder``, where the engine runs; None where it sees none of the machine's (a container).
    """
    allowed = [*own]
    for value in (*([option.partition("=")[2]] if "=" in option else []), *values):
        if _LOOKS_LIKE_AN_OPTION.match(value):
            raise DeniedError(
                f"parameter {_shown(option)} has the value {_shown(value)}, which an engine reads as another option; "
                "correct it",
                final=True,
            )
        for key, text in _texts(value):
            if key in floor.LOADING_KEYS:
                raise DeniedError(
                    f"parameter {_shown(option)} names code to load by {key}; remove it from the deployment", final=True
                )
            if folder is not None:
                check_files(policy, f"parameter {_shown(option)}", text, folder=folder, own=allowed)


def check_files(policy: Policy, what: str, text: str, *, folder: Path, own: Iterable[Path] = ()) -> None:
    """Raise ``DeniedError`` for a text that names a file outside the roots; files count from ``folder``."""
    allowed = (folder, *own)
    for path in _paths(text):
        place = folder / path
        if _is_of_this_machine(place):
            check_place(policy, place, f"{what} names a file, and", allowed)


def _texts(value: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of a value, each with the key it has: those of its JSON, or the whole."""
    parsed: object = value
    if value.lstrip().startswith(("{", "[")):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = value
    left: list[tuple[str, object]] = [("", parsed)]
    while left:
        key, each = left.pop()
        if isinstance(each, dict):
            left += [(str(name), inner) for name, inner in each.items()]
        elif isinstance(each, list):
            left += [(key, inner) for inner in each]
        else:
            yield key, each if isinstance(each, str) else ""


def _paths(text: str) -> Iterator[Path]:
    """Yield what of a value a program may take for a path that leads away from its folder."""
    for part in dict.fromkeys((text, *_SEPARATORS.split(text), *text.split(":"))):
        word = part.strip("'\"").removeprefix("file://").removeprefix("@")
        if "\0" in word or not (word.startswith(("/", "~")) or ".." in word.split("/")):
            continue
        try:
            yield Path(word).expanduser()
        except RuntimeError:  # nobody's home
            continue


def _is_of_this_machine(path: Path) -> bool:
    """Whether a path is there, or could be made: a route of the engine's API (``/v1``) is neither."""
    place = resolved(path)
    try:
        return os.path.lexists(path) or os.path.lexists(place) or (place.parent != Path("/") and place.parent.is_dir())
    except ValueError:
        return False
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG


def _shown(text: str) -> str:
    return repr(text[:_SHOWN_CHARACTERS])
