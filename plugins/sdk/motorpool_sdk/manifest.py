"""A plugin's manifest, and finding plugins without importing them."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from motorpool_sdk.errors import ManifestError

API_VERSION = "0.1"
# Versions of the contract before it that are served still, the newest first, with what their plugins have to change and
# until when. Empty today; a version enters here when the next one begins, and leaves when it is served no more.
DEPRECATED: Mapping[str, str] = {}
FILE_NAME = "plugin.toml"
MOST_BYTES = 64 * 1024
_MOST_ITEMS = 256
_MOST_TEXT = 512

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_PCI_ID = re.compile(r"[0-9a-f]{4}(:[0-9a-f]{4})?")
_LIBRARY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ABSOLUTE = re.compile(r"/[^\0]*")
_DEVICE_NODE = re.compile(r"/dev/[^\0]+")


class Kind(StrEnum):
    """What a plugin serves."""

    ACCELERATOR = "accelerator"
    BACKEND = "backend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What ``plugin.toml`` says. ``findings`` are remarks that stop nothing, such as keys nobody knows.

    ``deprecation`` says what to do where the plugin is made for a version of the SDK that will be served no more.
    """

    kind: Kind
    api: str
    provides: str
    module: str
    aliases: tuple[str, ...] = ()
    pci_ids: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    library_paths: tuple[str, ...] = ()
    device_nodes: tuple[str, ...] = ()
    reads_env: tuple[str, ...] = ()
    sets_env: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    deprecation: str = ""


@dataclass(frozen=True, slots=True)
class _ListKey:
    """What one item of a list must look like."""

    pattern: re.Pattern[str]
    example: str


_LISTS: Mapping[str, _ListKey] = {
    "aliases": _ListKey(_ALIAS, '"llama-box"'),
    "pci_ids": _ListKey(_PCI_ID, '"10de" or "10de:2335", lower case'),
    "libraries": _ListKey(_LIBRARY, '"libnvidia-ml.so.1", without a folder'),
    "library_paths": _ListKey(_ABSOLUTE, '"/usr/local/Ascend/driver/lib64", absolute'),
    "device_nodes": _ListKey(_DEVICE_NODE, '"/dev/nvidia[0-9]*"'),
    "reads_env": _ListKey(_ENV, '"CUDA_HOME"'),
    "sets_env": _ListKey(_ENV, '"CUDA_VISIBLE_DEVICES"'),
}
_ACCELERATOR_ONLY = ("pci_ids", "libraries", "device_nodes")
_KEYS = frozenset({"kind", "api", "provides", "module", *_LISTS})


def read(path: Path, package: str) -> Manifest:
    """Return the manifest of ``package`` at ``path``, or raise ManifestError."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        message = f"cannot be read ({error.strerror}); ship it beside the package's __init__.py"
        raise ManifestError(str(path), "", message) from error
    if len(content) > MOST_BYTES:
        raise ManifestError(str(path), "", f"is longer than {MOST_BYTES} bytes; a manifest holds a few lines")
    return parse(content, str(path), package)


def parse(content: bytes, file: str, package: str) -> Manifest:
    """Return the manifest that ``content`` spells; ``file`` is for messages. Raises ManifestError."""
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors.
        raise ManifestError(file, "", f"is not TOML in UTF-8: {_shortened(error)}; correct it") from error
    kind = _kind(table, file)
    api, deprecation = _api(table, file)
    return Manifest(
        kind=kind,
        api=api,
        provides=_provides(table, file),
        module=_module(table, file, package),
        findings=_findings(table, kind),
        deprecation=deprecation,
        **{key: _strings(table, file, key) for key in _LISTS},
    )


def _kind(table: Mapping[str, object], file: str) -> Kind:
    text = _string(table, file, "kind", '"accelerator" or "backend"')
    try:
        return Kind(text)
    except ValueError:
        raise ManifestError(file, "kind", f'is {text!r}; say "accelerator" or "backend"') from None


def _api(table: Mapping[str, object], file: str) -> tuple[str, str]:
    """Return the range that a manifest wants, and what to do where only deprecated versions are in it."""
    text = _string(table, file, "api", 'a range of SDK versions such as ">=0.1,<0.2"')
    try:
        wanted = SpecifierSet(text)
        served = next((each for each in (API_VERSION, *DEPRECATED) if wanted.contains(each, prereleases=True)), None)
    except InvalidSpecifier:
        raise ManifestError(file, "api", f'is {text!r}, no range of versions; say for example ">=0.1,<0.2"') from None
    if served is None:
        raise ManifestError(
            file,
            "api",
            f"wants SDK {text}, and this agent has {API_VERSION}; install a release of the plugin made for it",
        )
    if served == API_VERSION:
        return text, ""
    return text, (
        f"it is made for SDK {served}, which is deprecated: {DEPRECATED[served]}; install a release of the plugin made"
        f" for {API_VERSION}"
    )


def _provides(table: Mapping[str, object], file: str) -> str:
    text = _string(table, file, "provides", "the vendor's or backend's name")
    if not _NAME.fullmatch(text):
        raise ManifestError(
            file, "provides", f"is {text!r}; use lower case letters, digits and _, at most 63, a letter first"
        )
    return text


def _module(table: Mapping[str, object], file: str, package: str) -> str:
    if "module" not in table:
        return package
    text = _string(table, file, "module", "the module with the hooks")
    if not _MODULE.fullmatch(text) or (text != package and not text.startswith(f"{package}.")):
        raise ManifestError(file, "module", f'is {text!r}; name a module of the package, as "{package}.plugin"')
    return text


def _string(table: Mapping[str, object], file: str, key: str, what: str) -> str:
    value = table.get(key)
    if value is None:
        raise ManifestError(file, key, f"is missing; say {what}")
    if not isinstance(value, str) or not value or len(value) > _MOST_TEXT:
        raise ManifestError(file, key, f"must be a text of 1 to {_MOST_TEXT} characters: {what}")
    return value


def _strings(table: Mapping[str, object], file: str, key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or len(value) > _MOST_ITEMS:
        raise ManifestError(file, key, f"must be a list of at most {_MOST_ITEMS} texts")
    rule = _LISTS[key]
    for item in value:
        if not isinstance(item, str) or len(item) > _MOST_TEXT or not rule.pattern.fullmatch(item):
            raise ManifestError(file, key, f"has the item {_shortened(item)}; an item looks like {rule.example}")
    if key == "library_paths":
        for item in value:
            # A colon would smuggle a second folder into LD_LIBRARY_PATH.
            if os.pathsep in item:
                raise ManifestError(file, key, f"has the item {item!r}; list each folder by itself")
    return tuple(value)


def _findings(table: Mapping[str, object], kind: Kind) -> tuple[str, ...]:
    unknown = [f"unknown key {_shortened(key)}, ignored" for key in sorted(set(table) - _KEYS)[:_MOST_ITEMS]]
    idle = [
        f"key {key!r} means nothing to a backend, ignored"
        for key in _ACCELERATOR_ONLY
        if kind is Kind.BACKEND and key in table
    ]
    return (*unknown, *idle)


def _shortened(value: object) -> str:
    text = str(value) if isinstance(value, Exception) else repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
