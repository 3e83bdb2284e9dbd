"""What a declaration may say. Everything that is wrong with one is told at once, each by its field."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from motorpool_controller.domain import templates
from motorpool_controller.domain.backends import normal
from motorpool_controller.domain.declarations import Declaration, DeclaredVersion
from motorpool_controller.domain.environment import why_owned
from motorpool_controller.domain.faults import Fault
from motorpool_controller.domain.images import image_fault
from motorpool_controller.domain.names import BACKEND_ID_LENGTH, is_backend_id, shown
from motorpool_controller.domain.packages import package_faults
from motorpool_controller.domain.parameters import MAX_ELEMENT_CHARACTERS, MAX_ELEMENTS
from motorpool_controller.domain.specs import CATEGORIES, MAX_BYTES, MAX_ENTRIES, MAX_NAME_CHARACTERS

MAX_DESCRIPTION_CHARACTERS = 2_000
MAX_SECONDS = 7 * 24 * 3600.0
MAX_PORT = 65_535

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HTTP_PATH = re.compile(r"/[!-~]*")
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ash", "ksh", "busybox"})
_SCRIPT_FOLLOWS = re.compile(r"-[A-Za-z]*c")
_SCRIPT_FAULT = (
    "a shell would read the variable's value as part of its script; hand it over as a further argument, e.g. "
    "sh -c 'serve \"$1\"' sh {{model_path}}, or in env"
)
_ARCHITECTURES = {"x86_64": "amd64", "x64": "amd64", "aarch64": "arm64"}
"""What others call what nodes report."""


def declaration_faults(backend_id: str, declaration: Declaration) -> Iterator[Fault]:
    """Return what is wrong with a declaration by itself."""
    if not is_backend_id(backend_id):
        most = f"at most {BACKEND_ID_LENGTH} lower-case letters, digits, - and _, a letter first"
        yield "name", f"{shown(backend_id)} is no backend's name; use {most}"
    for check in _CHECKS:
        yield from check(declaration)
    names = [version.version for version in declaration.versions]
    for index, version in enumerate(declaration.versions):
        field = f"declaration.versions[{index}]"
        if names.index(version.version) < index:
            yield f"{field}.version", f"{shown(version.version)} is there twice; give each version a name of its own"
        yield from _version_faults(version, declaration, field)


def name_faults(backend_id: str, declaration: Declaration, taken: Mapping[str, str]) -> Iterator[Fault]:
    """Return which names are somebody else's; ``taken`` says whose a name is, by the name in its normal form."""
    for field, name in (("name", backend_id), *(("declaration.aliases", alias) for alias in declaration.aliases)):
        owner = taken.get(normal(name))
        if owner is not None:
            yield field, f"{shown(name)} is {owner}; choose another name"


def _backend_faults(declaration: Declaration) -> Iterator[Fault]:
    if not declaration.versions:
        yield "declaration.versions", "there is none; declare at least one, with a command or an image"
    elif len(declaration.versions) > MAX_ENTRIES:
        yield "declaration.versions", f"{len(declaration.versions)} versions, and {MAX_ENTRIES} is the most"
    if len(declaration.description) > MAX_DESCRIPTION_CHARACTERS or "\0" in declaration.description:
        yield "declaration.description", f"it is longer than {MAX_DESCRIPTION_CHARACTERS} characters; shorten it"
    yield from _words("declaration.aliases", declaration.aliases)
    yield from _words("declaration.formats", declaration.formats)
    for category in declaration.categories:
        if category not in CATEGORIES:
            yield "declaration.categories", f"{shown(category)} is none of {', '.join(CATEGORIES)}"
    yield from _http_path("declaration.health_path", declaration.health_path)
    yield from _http_path("declaration.metrics_path", declaration.metrics_path)
    yield from _seconds("declaration.start_timeout", declaration.start_timeout_seconds)
    yield from _seconds("declaration.stop_grace", declaration.stop_grace_seconds)
    if declaration.api_key_env:
        yield from _env_name("declaration.api_key_env", declaration.api_key_env)


def _option_faults(declaration: Declaration) -> Iterator[Fault]:
    field = "declaration.options"
    if len(declaration.options) > MAX_ELEMENTS:
        yield field, f"{len(declaration.options)} options, and {MAX_ELEMENTS} is the most"
        return
    seen: set[str] = set()
    for option in declaration.options:
        for name in (option.name, *option.aliases):
            if not _WORD.fullmatch(name) or len(name) > MAX_NAME_CHARACTERS:
                yield field, f"{shown(name)} is no option's name; write it without leading dashes, e.g. max-tokens"
            elif name.replace("_", "-") in seen:
                yield field, f"{shown(name)} is there twice; name each option once"
            seen.add(name.replace("_", "-"))


def _claim_faults(declaration: Declaration) -> Iterator[Fault]:
    for field, size in (
        ("declaration.claim.memory_bytes", declaration.claim_memory_bytes),
        ("declaration.claim.device_memory_bytes", declaration.claim_device_memory_bytes),
    ):
        if size is not None and not 0 < size <= MAX_BYTES:
            yield field, f"{size} is no size in bytes; give a positive number, or leave it to each deployment"


_CHECKS: tuple[Callable[[Declaration], Iterator[Fault]], ...] = (_backend_faults, _option_faults, _claim_faults)


def _version_faults(version: DeclaredVersion, declaration: Declaration, field: str) -> Iterator[Fault]:
    if not version.version:
        yield f"{field}.version", "it is missing; give each version a name, e.g. version: 1.0"
    elif not _WORD.fullmatch(version.version) or len(version.version) > MAX_NAME_CHARACTERS:
        yield f"{field}.version", f"{shown(version.version)} is no version; use letters, digits and . _ + -, e.g. 1.0"
    yield from _words(f"{field}.frameworks", version.frameworks)
    yield from _words(f"{field}.operating_systems", version.operating_systems)
    yield from _words(f"{field}.architectures", version.architectures)
    for architecture in version.architectures:
        if architecture in _ARCHITECTURES:
            known = _ARCHITECTURES[architecture]
            yield f"{field}.architectures", f"nodes call {architecture} {known}; write {known}"
    yield from _image_faults(version, declaration, field)
    yield from _http_path(f"{field}.health_path", version.health_path)
    for name, seconds in (("start_timeout", version.start_timeout_seconds), ("stop_grace", version.stop_grace_seconds)):
        if seconds is not None:
            yield from _seconds(f"{field}.{name}", seconds)
    yield from _env_faults(version, declaration, f"{field}.env")
    for name, arguments in (("command", version.command), ("entrypoint", version.entrypoint)):
        yield from _argument_faults(arguments, f"{field}.{name}", runs=bool(arguments) and _runs(version, name))
    yield from _variable_faults(version, field)
    yield from _port_faults(version, f"{field}.command")


def _runs(version: DeclaredVersion, name: str) -> bool:
    """Return whether the first element of these arguments is a program, and no argument of an image's."""
    return name == "entrypoint" or not version.image


def _image_faults(version: DeclaredVersion, declaration: Declaration, field: str) -> Iterator[Fault]:
    if not version.image:
        if not version.command:
            yield f"{field}.command", "there is neither a command nor an image; say what to run"
        if version.entrypoint:
            yield f"{field}.entrypoint", "it stands in place of an image's, and there is no image; put it into command"
        if version.container_port is not None:
            yield f"{field}.container_port", "it is for images; a process is told where to listen with {{port}}"
        if version.packages:
            yield f"{field}.packages", "they are installed in an image, and there is none; install them on the nodes"
        return
    yield from package_faults(version.packages, f"{field}.packages")
    if why := image_fault(version.image):
        yield f"{field}.image", f"{shown(version.image)} is no reference of a container image: {why}"
    if version.container_port is not None and not 0 < version.container_port <= MAX_PORT:
        yield f"{field}.container_port", f"{version.container_port} is not between 1 and {MAX_PORT}"
    if not (version.health_path or declaration.health_path):
        yield (
            f"{field}.health_path",
            "a container's port accepts before its engine does; give a path that answers 200 when it can serve",
        )


def _env_faults(version: DeclaredVersion, declaration: Declaration, field: str) -> Iterator[Fault]:
    if len(version.env) > MAX_ENTRIES:
        yield field, f"{len(version.env)} variables, and {MAX_ENTRIES} is the most"
    for name, value in version.env.items():
        yield from _env_name(field, name)
        if name == declaration.api_key_env:
            yield field, f"{name} is the variable for the API key (api_key_env); leave it out here"
        if name in templates.PROVIDED:
            yield field, f"{name} is what templates are given as {{{{{name}}}}}; choose another name"
        if "\0" in value or len(value) > MAX_ELEMENT_CHARACTERS:
            yield field, f"the value of {shown(name)} holds a NUL character or is too long; shorten it"
        elif wrong := templates.malformed(value):
            yield field, f"{name}: {wrong}"


def _argument_faults(arguments: Sequence[str], field: str, *, runs: bool) -> Iterator[Fault]:
    if len(arguments) > MAX_ELEMENTS:
        yield field, f"{len(arguments)} elements, and {MAX_ELEMENTS} is the most"
        return
    for index, argument in enumerate(arguments):
        if "\0" in argument or len(argument) > MAX_ELEMENT_CHARACTERS:
            yield f"{field}[{index}]", f"it holds a NUL character or more than {MAX_ELEMENT_CHARACTERS} characters"
        elif wrong := templates.malformed(argument):
            yield f"{field}[{index}]", wrong
    if not runs:
        return
    if not arguments[0] or templates.names(arguments[:1]):
        yield (
            f"{field}[0]",
            f"{shown(arguments[0])} names no program; write it out: of a variable, whoever deploys chooses what runs",
        )
    for index in _scripts(arguments):
        if templates.names([arguments[index]]):
            yield (
                f"{field}[{index}]",
                _SCRIPT_FAULT,
            )


def _scripts(arguments: Sequence[str]) -> Iterator[int]:
    """Return where a shell is given a script among its arguments."""
    shell = False
    for index, argument in enumerate(arguments):
        shell = shell or PurePosixPath(argument).name in _SHELLS
        if shell and index and _SCRIPT_FOLLOWS.fullmatch(arguments[index - 1]):
            yield index


def _variable_faults(version: DeclaredVersion, field: str) -> Iterator[Fault]:
    places = (("entrypoint", version.entrypoint), ("command", version.command), ("env", tuple(version.env.values())))
    for place, texts in places:
        for name in templates.names(texts):
            if name in templates.PROVIDED:
                continue
            at = f"{field}.{place}"
            near = difflib.get_close_matches(name, templates.PROVIDED, n=1, cutoff=0.75)
            if why := why_owned(name):
                yield at, f"{{{{{name}}}}} can be given by no deployment: {why}"
            elif name in version.env and templates.names([version.env[name]]):
                yield at, f"{{{{{name}}}}} stands for a template itself, which is not looked at again; write it out"
            elif near and name not in version.env:
                yield at, f"{{{{{name}}}}} is not known, and much like {{{{{near[0]}}}}}; correct it, or rename it"


def _port_faults(version: DeclaredVersion, field: str) -> Iterator[Fault]:
    used = templates.names((*version.entrypoint, *version.command, *version.env.values()))
    if version.container_port is not None or difflib.get_close_matches("port", used, n=1, cutoff=0.75):
        return  # of what is much like it, the fault is told already
    if version.image:
        yield field, "nothing tells it where to listen; put {{port}} there or into env, or give container_port"
    elif version.command:
        yield field, "nothing tells it where to listen; put {{port}} there, or into env"


def _env_name(field: str, name: str) -> Iterator[Fault]:
    if not _ENV_NAME.fullmatch(name) or len(name) > MAX_NAME_CHARACTERS:
        yield field, f"{shown(name)} is no name of a variable; use letters, digits and _, not a digit first"
    elif why := why_owned(name):
        yield field, f"{name} cannot be set: {why}"


def _words(field: str, words: Iterable[str]) -> Iterator[Fault]:
    seen: set[str] = set()
    for word in words:
        if not _WORD.fullmatch(word) or len(word) > MAX_NAME_CHARACTERS:
            yield field, f"{shown(word)} is none; use letters, digits and . _ + -"
        elif word in seen:
            yield field, f"{shown(word)} is there twice; name it once"
        seen.add(word)


def _http_path(field: str, path: str) -> Iterator[Fault]:
    if path and (not _HTTP_PATH.fullmatch(path) or len(path) > MAX_NAME_CHARACTERS):
        yield field, f"{shown(path)} is no path of an HTTP server; begin with /, e.g. /health"


def _seconds(field: str, seconds: float) -> Iterator[Fault]:
    if not 0 < seconds <= MAX_SECONDS:
        yield field, f"{seconds:g} s is not above 0 and at most a week; e.g. 90s"
