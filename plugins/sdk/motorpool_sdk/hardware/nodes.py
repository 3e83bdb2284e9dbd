"""Device nodes as the kernel names them, which is never by a card's index."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path


def drm_nodes(address: str, root: Path = Path("/")) -> tuple[str, ...]:
    """Return the nodes under /dev/dri of the card at a PCI address."""
    folder = root / "sys/bus/pci/devices" / address / "drm"
    names = sorted(path.name for pattern in ("card[0-9]*", "renderD[0-9]*") for path in folder.glob(pattern))
    return tuple(f"/dev/dri/{name}" for name in names)


def groups_of(nodes: Sequence[str], root: Path = Path("/")) -> tuple[str, ...]:
    """Return the groups that own these nodes, as numbers: their names differ between a host and an image."""
    found: dict[str, None] = {}
    for node in nodes:
        with contextlib.suppress(OSError):
            found[str((root / node.lstrip("/")).stat().st_gid)] = None
    return tuple(found)
