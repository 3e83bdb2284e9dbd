"""What a unit is made of: the properties of a launch, by systemd.exec(5) and its neighbours."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from motorpool_agent.reconcile.handle import Unit

SLICE = "motorpool.slice"
ENVIRONMENT_NAME = "environment"
OOM_NAME = "oom"
_OPEN_FILES = 1 << 20
_LAST_SECONDS = 15
_SPECIAL = re.compile(r'(["\\`$])')


def properties(
    unit: Unit, *, environment: Path, working_directory: str, oom_counter: str, oom_file: Path
) -> Iterator[str]:
    """Yield the properties of a launch's unit.

    ``environment`` is the file of its variables. ``oom_counter`` is the file in which its control group counts kills
    for memory, where systemd does not look there itself: it is copied to ``oom_file`` before the group goes.
    """
    yield f"Description=Motorpool {unit.title}".replace("\n", " ")
    yield f"SyslogIdentifier={unit.title or 'motorpool'}".replace("\n", " ")
    yield f"Slice={SLICE}"
    # Started means executed; what ended is remembered until this agent, or the next one, has seen how.
    yield "Type=exec"
    yield "RemainAfterExit=yes"
    yield "Restart=no"
    yield "KillMode=control-group"
    yield f"TimeoutStopSec={_LAST_SECONDS}"
    yield "OOMPolicy=stop"
    # In a file, and not among the properties, which every user of the machine may read. Gone when it was read once, and
    # so not wanted of what runs after the end.
    yield f"EnvironmentFile=-{escaped(str(environment))}"
    yield f"WorkingDirectory={escaped(working_directory)}"
    yield "StandardInput=null"
    yield "StandardOutput=journal"
    yield "StandardError=inherit"
    # Nothing of an engine's last words is dropped for coming fast.
    yield "LogRateLimitIntervalSec=0"
    yield f"LimitNOFILE={_OPEN_FILES}"
    # Collective libraries lock memory for devices to write to.
    yield "LimitMEMLOCK=infinity"
    yield "TasksMax=infinity"
    yield "NoNewPrivileges=yes"
    if unit.memory_limit_bytes is not None:
        yield f"MemoryMax={unit.memory_limit_bytes}"
        yield "MemorySwapMax=0"
    if unit.device_nodes is not None:
        yield "DevicePolicy=closed"
        yield from (f"DeviceAllow={_by_number(node)} rw" for node in unit.device_nodes)
    if oom_counter:
        # Whoever's the unit is: the counter, and where it goes to, are not its user's.
        yield f"ExecStopPost=-+/bin/cp --no-preserve=all {escaped(oom_counter)} {escaped(str(oom_file))}"


def write_environment(environment: Mapping[str, str], path: Path) -> None:
    """Write a launch's variables as systemd reads them, for the owner only."""
    lines = [f'{name}="{_SPECIAL.sub(_backslash, value)}"\n' for name, value in environment.items()]
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(lines)


def _by_number(node: str) -> str:
    """Return a device's node by what it is, wherever its vendor put it."""
    found = Path(node).stat()
    kind = "block" if stat.S_ISBLK(found.st_mode) else "char"
    return f"/dev/{kind}/{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"


def _backslash(match: re.Match[str]) -> str:
    return f"\\{match[1]}"


def escaped(path: str) -> str:
    """Return a path as a property takes it: specifiers begin with a percent sign."""
    return path.replace("%", "%%")
