"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from motorpool_agent import failpoints


def write_durably(path: Path, content: bytes, *, mode: int = 0o600, drafted: failpoints.Step | None = None) -> None:
    """Put ``content`` at ``path`` so that a crash at any point leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        try:
            # A leftover of a crash keeps its mode; O_CREAT sets it on new files only.
            os.fchmod(descriptor, mode)
            with memoryview(content) as view:
                written = 0
                while written < len(view):
                    written += os.write(descriptor, view[written:])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if drafted is not None:
            failpoints.reach(drafted)
        temporary.replace(path)
    except OSError:
        # On a full disk a draft would take the very bytes that are missing.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
