"""Finding plugins by their entry points and manifests. Nothing of a plugin is imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions
from importlib.util import find_spec
from pathlib import Path

from motorpool_sdk.errors import ManifestError
from motorpool_sdk.manifest import FILE_NAME, Manifest, read

GROUP = "motorpool.plugins"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One plugin that is installed: where it came from, and its manifest or what is wrong with it.

    ``root`` is the folder that must be on ``sys.path`` for ``package`` to be found; empty when it was not found.
    """

    entry_point: str
    distribution: str
    version: str
    package: str
    root: str = ""
    manifest: Manifest | None = None
    error: str = ""


def discover() -> tuple[Found, ...]:
    """Return every plugin installed here, by entry point name; a broken one costs only itself."""
    found: list[Found] = []
    seen: set[str] = set()
    for distribution in distributions():
        # A foreign package's metadata may be broken in any way; it must not cost us the others.
        try:
            found.extend(_plugins_of(distribution, seen))
        except Exception as error:  # noqa: BLE001  # foreign data, read by importlib's code
            if _mentions_us(distribution):
                found.append(_unreadable(distribution, error))
    return tuple(sorted(found, key=lambda plugin: (plugin.entry_point, plugin.distribution)))


def _plugins_of(distribution: Distribution, seen: set[str]) -> Iterator[Found]:
    text = distribution.read_text("entry_points.txt")
    if text is None or GROUP not in text:
        return
    name = distribution.name
    if not name:
        raise ValueError("METADATA has no Name")
    if name in seen:  # As Python does: the first of a name on sys.path counts.
        return
    seen.add(name)
    for entry_point in distribution.entry_points.select(group=GROUP):
        yield _found(entry_point, name, distribution.version or "")


def _found(entry_point: EntryPoint, distribution: str, version: str) -> Found:
    package = entry_point.value.strip()
    root = ""
    manifest = None
    error = ""
    try:
        folder = _folder(entry_point.name, package, distribution)
        root = str(folder.parent)
        manifest = read(folder / FILE_NAME, package)
    except ManifestError as fault:
        error = str(fault)
    return Found(
        entry_point=entry_point.name,
        distribution=distribution,
        version=version,
        package=package,
        root=root,
        manifest=manifest,
        error=error,
    )


def _folder(name: str, package: str, distribution: str) -> Path:
    where = f"entry point {name} of {distribution}"
    if not package.isidentifier():
        raise ManifestError(where, "", f"names {package!r}; let it name a package that stands at the top level")
    # For a name without a dot, find_spec imports nothing.
    try:
        spec = find_spec(package)
    except Exception as error:
        # Finders of foreign import hooks may raise anything.
        raise ManifestError(where, "", f"names {package!r}, and looking for it failed: {error}") from error
    if spec is None or spec.origin is None or not spec.submodule_search_locations:
        raise ManifestError(
            where, "", f"names {package!r}, which is no installed package with an __init__.py; reinstall {distribution}"
        )
    return Path(spec.origin).parent


def _mentions_us(distribution: Distribution) -> bool:
    try:
        return GROUP in (distribution.read_text("entry_points.txt") or "")
    except Exception:  # noqa: BLE001  # nothing can be known of it
        return False


def _unreadable(distribution: Distribution, error: Exception) -> Found:
    folder = str(getattr(distribution, "_path", "an installed distribution"))
    message = f"{folder}: its metadata cannot be read ({type(error).__name__}: {error}); reinstall the package"
    return Found(entry_point=Path(folder).name, distribution=Path(folder).name, version="", package="", error=message)
