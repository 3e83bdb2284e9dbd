"""systemd's own commands, which every machine with systemd has: one call, in time, or an error that says so."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from motorpool_agent.runtime.systemd.errors import UnreachableError

CALL_SECONDS = 30.0
_SHOWN_CHARACTERS = 400
_NOT_CONNECTED = ("Failed to connect to bus", "Failed to get D-Bus connection", "has not been booted with systemd")


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered."""

    status: int
    out: str
    errors: str


async def call(*argv: str, seconds: float = CALL_SECONDS) -> Said:
    """Run one of systemd's commands; raise ``UnreachableError`` if there is none, or nobody answers it."""
    what = " ".join(argv[:2])
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )
    except OSError as error:
        raise UnreachableError(what, error.strerror or str(error)) from error
    try:
        async with asyncio.timeout(seconds):
            out, errors = await process.communicate()
    except TimeoutError as error:
        raise UnreachableError(what, f"no answer within {seconds:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told = errors.decode(errors="replace").strip()
    if process.returncode and any(words in told for words in _NOT_CONNECTED):
        raise UnreachableError(what, told[:_SHOWN_CHARACTERS])
    return Said(process.returncode or 0, out.decode(errors="replace"), told[:_SHOWN_CHARACTERS])


def environment() -> dict[str, str]:
    """Return the variables that systemd's commands get: theirs to find the manager by, and plain output."""
    own = {
        name: os.environ[name] for name in ("PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS") if name in os.environ
    }
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", **own}
