"""Whether the hardware that an accelerator plugin serves is in this machine, without asking the plugin."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from motorpool_sdk.manifest import Manifest

_LIBRARY_FOLDERS = ("usr/lib", "usr/lib64", "usr/local/lib", "lib", "lib64")
_TRIPLETS = ("x86_64-linux-gnu", "aarch64-linux-gnu")

# PCI classes: display controllers of every kind, processing accelerators.
_CARDS = ("03", "12")
# Consoles of servers and virtual machines, and graphics of processors: ASPEED, Matrox, Cirrus, QEMU, VMware, Microsoft,
# virtio, Intel.
_DISPLAYS = frozenset({"1a03", "102b", "1013", "1234", "15ad", "1414", "1af4", "8086"})


def present(manifest: Manifest, root: Path = Path("/")) -> bool:
    """Return whether a PCI device, device node or library of ``manifest`` is here; a manifest without any is."""
    return not looked_for(manifest) or next(_signs(manifest, root), None) is not None


def signs(manifest: Manifest, root: Path = Path("/")) -> tuple[str, ...]:
    """Return every sign of the hardware, in words."""
    return tuple(_signs(manifest, root))


def looked_for(manifest: Manifest) -> tuple[str, ...]:
    """Return what would be a sign of the hardware."""
    return (*(f"PCI {number}" for number in manifest.pci_ids), *manifest.device_nodes, *manifest.libraries)


def closed_nodes(manifest: Manifest, root: Path = Path("/")) -> tuple[str, ...]:
    """Return the hardware's device nodes that this user may not open, each with whose they are."""
    return tuple(
        f"{_below(path, root)} belongs to {_owner(path)}"
        for path in _device_nodes(manifest, root)
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=True)
    )


def cards_on_the_bus(root: Path = Path("/")) -> tuple[tuple[str, str], ...]:
    """Return address and ``vendor:device`` of what is an accelerator by its PCI class, whoever made it."""
    return tuple(
        (address, f"{vendor}:{number}")
        for address, vendor, number in _pci_devices(root)
        if vendor not in _DISPLAYS and _pci_class(root, address).startswith(_CARDS)
    )


def _pci_class(root: Path, address: str) -> str:
    try:
        text = (root / "sys/bus/pci/devices" / address / "class").read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
    return text.strip().removeprefix("0x")


def _signs(manifest: Manifest, root: Path) -> Iterator[str]:
    for address, vendor, number in _pci_devices(root) if manifest.pci_ids else ():
        if not {vendor, f"{vendor}:{number}"}.isdisjoint(manifest.pci_ids):
            yield f"PCI device {address} ({vendor}:{number})"
    for path in _device_nodes(manifest, root):
        yield f"device node {_below(path, root)}"
    for path in _library_places(manifest, root):
        if path.exists():
            yield f"library {_below(path, root)}"


def _pci_devices(root: Path) -> Iterator[tuple[str, str, str]]:
    """Yield address, vendor and number of every PCI device, in lower case hexadecimal without 0x."""
    for device in sorted(root.glob("sys/bus/pci/devices/*")):
        try:
            vendor = device.joinpath("vendor").read_text(encoding="ascii").strip().removeprefix("0x")
            number = device.joinpath("device").read_text(encoding="ascii").strip().removeprefix("0x")
        except (OSError, ValueError):
            continue
        yield device.name, vendor, number


def _device_nodes(manifest: Manifest, root: Path) -> Iterator[Path]:
    for pattern in manifest.device_nodes:
        try:
            yield from sorted(root.glob(pattern.lstrip("/")))
        except (OSError, ValueError):  # An unreadable folder, or a pattern that is none.
            continue


def _library_places(manifest: Manifest, root: Path) -> Iterator[Path]:
    # The plugin's process looks where its loader is told to, so the same folders count here.
    inherited = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    told = [path for path in (*manifest.library_paths, *inherited) if path.startswith("/")]
    folders = [path.lstrip("/") for path in told]
    folders += [*_LIBRARY_FOLDERS, *(f"usr/lib/{triplet}" for triplet in _TRIPLETS)]
    for folder in dict.fromkeys(folders):
        for library in manifest.libraries:
            yield root / folder / library


def _below(path: Path, root: Path) -> str:
    return f"/{path.relative_to(root)}"


def _owner(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        return f"somebody else ({error.strerror})"
    try:
        user = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        user = str(status.st_uid)
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return f"{user}:{group}, mode {status.st_mode & 0o777:04o}"
