"""The manifest of an installed package, for tests."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from motorpool_sdk.manifest import FILE_NAME, Manifest, read


def installed_manifest(package: str) -> Manifest:
    """Return the manifest beside ``package``'s ``__init__.py``."""
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.origin is not None, f"{package} has no __init__.py"
    return read(Path(spec.origin).parent / FILE_NAME, package)
