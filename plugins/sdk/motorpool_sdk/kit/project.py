"""A new plugin's folder, written from the templates beside this module."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from motorpool_sdk.errors import SdkError
from motorpool_sdk.manifest import API_VERSION, Kind

_SUFFIX = ".template"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")  # as in a manifest


class ProjectError(SdkError):
    """A plugin that cannot be written: says why, and what to do."""


def write_project(kind: Kind, name: str, into: Path) -> Path:
    """Write a plugin project that passes its own tests below ``into``, and return its folder."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ProjectError(f"{name!r} cannot be a plugin's name: use lower case letters, digits and _, a letter first")
    folder = into / f"motorpool-{name.replace('_', '-')}"
    package = f"motorpool_{name}"
    major, minor = (int(part) for part in API_VERSION.split(".")[:2])
    words = {
        "name": name,
        "package": package,
        "distribution": folder.name,
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "api": f">={major}.{minor},<{major}.{minor + 1}",
        "variable": name.upper(),
    }
    try:
        folder.mkdir(parents=True)
        _write(files("motorpool_sdk.kit") / "templates" / kind.value, folder, package, words)
    except FileExistsError:
        raise ProjectError(f"{folder} exists already; choose another name, or another folder with --into") from None
    except OSError as error:
        raise ProjectError(f"{folder} cannot be written: {error.strerror}; name a folder with --into") from None
    return folder


def _write(template: Traversable, folder: Path, package: str, words: dict[str, str]) -> None:
    for entry in template.iterdir():
        if entry.is_dir():
            below = folder / (package if entry.name == "package" else entry.name)
            below.mkdir()
            _write(entry, below, package, words)
        elif entry.name.endswith(_SUFFIX):
            text = Template(entry.read_text(encoding="utf-8")).substitute(words)
            (folder / entry.name.removesuffix(_SUFFIX)).write_text(text, encoding="utf-8")
