"""Running a program as an ordinary user, one that may open no device and write nowhere but where all may."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534
ROOT = Path(__file__).parents[1]


def run_as_nobody(*command: str, env: Mapping[str, str], proc_options: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command as nobody, who sees interpreter and tree wherever they stand; by no root as who runs the test.

    With ``proc_options`` its /proc is mounted with those.
    """
    if os.geteuid() != 0:
        return _run(command, env)
    with tempfile.TemporaryDirectory() as folder:
        # In a mount namespace of the command's own: nothing changes for others.
        script = [*showing(folder)]
        script += [f"mount -t proc -o {shlex.quote(proc_options)} proc /proc"] if proc_options else []
        script.append(f'exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups -- "$@"')
        done = _run(("unshare", "-m", "sh", "-c", "\n".join(script), "sh", *command), env)
    if "mount: " in done.stderr:
        pytest.skip(f"interpreter and tree cannot be shown to another user: {done.stderr.strip()}")
    return done


def showing(folder: str) -> Iterator[str]:
    """Yield a shell's lines that show interpreter and tree to every user of this mount namespace.

    ``folder`` is an empty one, where they are put while what hides them is covered.
    """
    prefixes = sorted({Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT})
    closed = {path: at for path in prefixes if (at := _closed_to_others(path)) is not None}
    aside = {path: f"{folder}/{number}" for number, path in enumerate(closed)}
    yield "set -e"
    yield from (f"mkdir {at}; mount --bind {shlex.quote(str(path))} {at}" for path, at in aside.items())
    yield from (f"mount -t tmpfs -o mode=755 none {shlex.quote(str(at))}" for at in sorted(set(closed.values())))
    for path, place in aside.items():
        yield f"mkdir -p {shlex.quote(str(path))}; mount --bind {place} {shlex.quote(str(path))}"
        # Whoever clears the folder away must not clear away what is mounted there.
        yield f"umount {place}"


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _closed_to_others(path: Path) -> Path | None:
    """Return the uppermost folder on the way to a path that other users may not enter."""
    way = [*reversed(path.parents), path]
    return next((at for at in way if not at.stat().st_mode & stat.S_IXOTH), None)


def _run(command: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False
    )
