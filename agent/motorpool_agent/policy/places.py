"""Where files lie, after every link on the way to them: what a path says is not where it leads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from motorpool_agent.policy import floor
from motorpool_agent.policy.denials import DeniedError
from motorpool_agent.policy.rules import Policy

_GLOB = frozenset("*?[")


def check_place(policy: Policy, path: Path, what: str, own: Iterable[Path] = ()) -> None:
    """Raise ``DeniedError`` unless a path leads below a root. ``own`` are folders of Motorpool's own, allowed too."""
    place = resolved(path)
    if any(place.is_relative_to(resolved(folder)) for folder in own):
        return
    shown = _shown(path, place)
    if any(place.is_relative_to(resolved(Path(folder))) for folder in policy.closed):
        raise DeniedError(
            f"{what} {shown} is in the agent's own folder, and engines are given nothing of it", final=True
        )
    private = next((part for part in place.parts if part in floor.PRIVATE), "")
    if private:
        raise DeniedError(f"{what} {shown} is in a folder {private}, and engines are given nothing of it", final=True)
    roots = [root for each in policy.roots if place.is_relative_to(root := resolved(Path(each)))]
    nearest = max(roots, key=lambda root: len(root.parts), default=None)
    protected = next((each for each in map(Path, floor.PROTECTED) if place.is_relative_to(resolved(each))), None)
    if nearest is not None and (protected is None or nearest.is_relative_to(resolved(protected))):
        return
    folder = place if place.is_dir() else place.parent
    raise DeniedError(
        f"{what} {shown} is outside the folders that engines of this node read; move it, or "
        + policy.line("roots", str(folder))
    )


def check_program(policy: Policy, program: str, backend: str, own: Iterable[Path] = ()) -> None:
    """Raise ``DeniedError`` unless a program, a path, may run for a backend.

    What lies in one of the folders ``own`` may, by its place there: the interpreter of an engine's environment is a
    link to the machine's. Any other one counts by where its links lead.
    """
    path = Path(program)
    if any((resolved(path.parent) / path.name).is_relative_to(resolved(folder)) for folder in own):
        return
    place = resolved(path)
    if any(_matches(place, pattern) for pattern in policy.executables_of(backend)):
        return
    raise DeniedError(
        f"program {_shown(path, place)} is none that backend {backend} may run on this node as a process; run it in a "
        f"container (with an image), or {policy.line(f'backends.{backend}.executables', str(place))}"
    )


def check_device(policy: Policy, node: str) -> None:
    """Raise ``DeniedError`` unless a device node is one that engines may be given."""
    place = str(resolved(Path(node)))
    if not any(fnmatchcase(place, pattern) for pattern in policy.devices):
        raise DeniedError(
            f"device node {node} is none that engines of this node may be given; {policy.line('devices', place)}"
        )


def resolved(path: Path) -> Path:
    """Return where a path leads, as far as it exists."""
    # Path.resolve raises for links that lead to themselves.
    return Path(os.path.realpath(path))


def _shown(path: Path, place: Path) -> str:
    return str(path) if place == path else f"{path}, which leads to {place},"


def _matches(place: Path, pattern: str) -> bool:
    if _GLOB.isdisjoint(pattern):
        return place == resolved(Path(pattern))
    return fnmatchcase(str(place), pattern)
