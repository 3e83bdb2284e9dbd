"""What a plugin's process holds of the machine: memory and descriptors, as the kernel counts them."""

from __future__ import annotations

import os
from pathlib import Path

from motorpool_agent.inventory.plugin_process import Patience
from motorpool_agent.inventory.plugin_status import PluginUsage

_PROC = Path("/proc")
_MEBIBYTE = 1 << 20


def holdings(plugin_id: str, pid: int, sample_seconds: float | None = None) -> PluginUsage:
    """Return what a process holds now; what the kernel does not tell is unknown."""
    folder = _PROC / str(pid)
    resident_bytes = open_files = None
    try:
        pages = (folder / "statm").read_bytes().split()[1]
        resident_bytes = int(pages) * os.sysconf("SC_PAGE_SIZE")
        open_files = len(os.listdir(folder / "fd"))  # noqa: PTH208  # names are not wanted as paths
    except (OSError, IndexError, ValueError):
        pass
    return PluginUsage(
        plugin_id=plugin_id,
        pid=pid,
        resident_bytes=resident_bytes,
        open_files=open_files,
        sample_seconds=sample_seconds,
    )


def excess(usage: PluginUsage, patience: Patience) -> str:
    """Return what a process holds too much of, empty where it does not."""
    if usage.resident_bytes is not None and usage.resident_bytes > patience.most_resident_bytes:
        held, most = usage.resident_bytes // _MEBIBYTE, patience.most_resident_bytes // _MEBIBYTE
        return f"plugin {usage.plugin_id} held {held} MiB, more than {most} MiB, and was started anew"
    if usage.open_files is not None and usage.open_files > patience.most_open_files:
        return (
            f"plugin {usage.plugin_id} had {usage.open_files} descriptors open, more than {patience.most_open_files}, "
            "and was started anew"
        )
    return ""
