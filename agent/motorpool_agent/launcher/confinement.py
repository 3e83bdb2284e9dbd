"""What an engine may do in a unit that the launcher starts: run, read what it was given, and reach its devices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from motorpool_agent.runtime.systemd.creation import escaped
from motorpool_agent.runtime.systemd.requests import Start

STATE = "motorpool-engines"
"""Engines' own folders, below the folder of all services' state; each belongs to one engine's user."""

_PROPERTIES = (
    # A user that is nobody else's, as long as the unit lives. It implies strict protection of the system's files, a
    # /tmp of its own and no new privileges.
    "DynamicUser=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "UMask=0077",
    "KeyringMode=private",
    "LockPersonality=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallArchitectures=native",
    "SystemCallErrorNumber=EPERM",
    "SystemCallFilter=~@clock @cpu-emulation @module @mount @obsolete @raw-io @reboot @swap",
)


def work_of(assignment_id: str) -> str:
    """Return an engine's working directory, below the folder of services' state."""
    return f"{STATE}/{assignment_id}"


def confined(
    start: Start, assignment_id: str, *, data_dir: Path, files: dict[str, Path], groups: tuple[str, ...]
) -> Iterator[str]:
    """Yield the properties that a unit has beside those of any engine's.

    Of the agent's ``data_dir`` it sees the folders that it reads, and its own launch's ``files`` (by name, where they
    lie now), which its user alone may read. ``groups`` are those that its device nodes belong to.
    """
    yield from _PROPERTIES
    yield f"StateDirectory={work_of(assignment_id)}"
    yield "StateDirectoryMode=0700"
    if groups:
        yield f"SupplementaryGroups={' '.join(groups)}"
    yield f"TemporaryFileSystem={escaped(str(data_dir))}:ro"
    yield from (f"BindReadOnlyPaths={escaped(path)}" for path in start.reads)
    yield from (f"LoadCredential={name}:{escaped(str(path))}" for name, path in files.items())
    if start.files:
        folder = Path(next(iter(start.files))).parent
        yield f"BindReadOnlyPaths=/run/credentials/{start.unit}:{escaped(str(folder))}"
