"""Python packages that are installed in an image before it runs: names with versions, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from motorpool_controller.domain.faults import Fault
from motorpool_controller.domain.names import shown

MAX_PACKAGES = 64
MAX_CHARACTERS = 256

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = rf"(?:\[{_NAME}(?:,{_NAME})*\])?"
_BOUND = r"(?:==|!=|<=|>=|~=|<|>)[0-9A-Za-z][0-9A-Za-z.*+!_-]*"
_PACKAGE = re.compile(rf"{_NAME}{_EXTRAS}(?:{_BOUND}(?:,{_BOUND})*)?")


def package_faults(packages: Sequence[str], field: str) -> Iterator[Fault]:
    """Yield what is wrong with the packages of a field; an address, a path and an option of pip are none."""
    if len(packages) > MAX_PACKAGES:
        yield field, f"{len(packages)} packages, and {MAX_PACKAGES} is the most; build them into an image"
        return
    for package in packages:
        if len(package) > MAX_CHARACTERS or not _PACKAGE.fullmatch(package):
            yield field, f"{shown(package)} is no package; write a name with its version, e.g. timm==1.0.25"
