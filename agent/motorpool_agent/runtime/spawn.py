"""Starting the shim: what it is told, and which descriptors it gets."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

from motorpool_agent.reconcile.handle import Identity, LaunchRecord
from motorpool_agent.runtime import logs, procfs
from motorpool_agent.runtime.shim.specification import AGENT_FD, LOCK_FD, SPECIFICATION_FD

_SHIM = Path(__file__).with_name("shim") / "__main__.py"
_ABOVE_TARGETS = 10


def specification(
    mode: str,
    run: int,
    cgroup: str,
    oom_counter: str,
    log_path: Path,
    *,
    record: LaunchRecord | None = None,
    engine: Identity | None = None,
) -> bytes:
    """Return what the shim reads; see ``shim.specification``."""
    argv = () if record is None else record.argv
    environment = {} if record is None else record.environment
    fields = [
        mode,
        str(run),
        procfs.boot_id(),
        cgroup,
        oom_counter,
        "" if record is None else record.working_directory,
        str(log_path),
        str(logs.LIMIT_BYTES),
        str(logs.FILES),
        str(0 if engine is None else engine.pid),
        str(0 if engine is None else engine.start_ticks),
        str(len(argv)),
        *argv,
        *(f"{name}={value}" for name, value in environment.items()),
    ]
    return "\0".join(fields).encode("utf-8", "surrogateescape")


def shim_process(directory: Path, content: bytes, lock: int, agent: int) -> int:
    """Start the shim in a session of its own and return its pid.

    Not subprocess: its Popen wants to be waited for, and this child is meant to outlive us. The child gets copies of
    exactly these descriptors, so that no other child of the agent can hold the lock by accident.
    """
    errors = os.open(directory / logs.SHIM_ERRORS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    sources: list[int] = []
    memory = -1
    try:
        memory = os.memfd_create("motorpool-specification")
        with memoryview(content) as view:
            written = 0
            while written < len(view):
                written += os.write(memory, view[written:])
        # Moved out of the targets' way: a dup2 must not close what a later one needs.
        sources += [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, _ABOVE_TARGETS) for one in (memory, lock, agent, errors)]
        targets = (SPECIFICATION_FD, LOCK_FD, AGENT_FD, 2)
        environment = {"LC_ALL": "C.UTF-8"}
        if "LD_LIBRARY_PATH" in os.environ:
            # The agent's own interpreter may need it.
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(_SHIM), str(directory)],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_RDWR, 0),
                *((os.POSIX_SPAWN_DUP2, source, target) for source, target in zip(sources, targets, strict=True)),
            ],
            setsid=True,
        )
    finally:
        for descriptor in (memory, errors, *sources):
            if descriptor >= 0:
                os.close(descriptor)
