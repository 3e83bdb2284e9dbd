"""Whether the hardware that an accelerator plugin serves is in this machine, without asking the plugin."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from motorpool_sdk import Manifest

_LIBRARY_FOLDERS = ("usr/lib", "usr/lib64", "usr/local/lib", "lib", "lib64")
_TRIPLETS = ("x86_64-linux-gnu", "aarch64-linux-gnu")


def present(manifest: Manifest, root: Path = Path("/")) -> bool:
    """Return whether a PCI device, device node or library of ``manifest`` is here; a manifest without any is."""
    if not (manifest.pci_ids or manifest.device_nodes or manifest.libraries):
        return True
    return _has_pci_device(manifest, root) or _has_device_node(manifest, root) or _has_library(manifest, root)


def _has_pci_device(manifest: Manifest, root: Path) -> bool:
    return bool(manifest.pci_ids) and not _pci_ids(root).isdisjoint(manifest.pci_ids)


def _pci_ids(root: Path) -> set[str]:
    """Return ``vendor`` and ``vendor:device`` of every PCI device, in lower case hexadecimal without 0x."""
    ids: set[str] = set()
    for device in root.glob("sys/bus/pci/devices/*"):
        try:
            vendor = device.joinpath("vendor").read_text(encoding="ascii").strip().removeprefix("0x")
            number = device.joinpath("device").read_text(encoding="ascii").strip().removeprefix("0x")
        except (OSError, ValueError):
            continue
        ids |= {vendor, f"{vendor}:{number}"}
    return ids


def _has_device_node(manifest: Manifest, root: Path) -> bool:
    return any(next(_glob(root, pattern), None) for pattern in manifest.device_nodes)


def _glob(root: Path, pattern: str) -> Iterator[Path]:
    try:
        yield from root.glob(pattern.lstrip("/"))
    except (OSError, ValueError):  # An unreadable folder, or a pattern that is none.
        return


def _has_library(manifest: Manifest, root: Path) -> bool:
    # The plugin's process looks where its loader is told to, so the same folders count here.
    inherited = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    told = [path for path in (*manifest.library_paths, *inherited) if path.startswith("/")]
    folders = [path.lstrip("/") for path in told]
    folders += [*_LIBRARY_FOLDERS, *(f"usr/lib/{triplet}" for triplet in _TRIPLETS)]
    return any((root / folder / library).exists() for folder in folders for library in manifest.libraries)
