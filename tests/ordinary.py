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


def run_as_nobody(*command: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as nobody, who sees interpreter and tree wherever they stand; by no root as who runs the test."""
    if os.geteuid() != 0:
        return _run(command, env)
    prefixes = sorted({Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT})
    closed = {path: at for path in prefixes if (at := _closed_to_others(path)) is not None}
    with tempfile.TemporaryDirectory() as folder:
        aside = {path: f"{folder}/{number}" for number, path in enumerate(closed)}
        # In a mount namespace of the command's own: nothing changes for others.
        script = ["set -e"]
        script += [f"mkdir {at}; mount --bind {shlex.quote(str(path))} {at}" for path, at in aside.items()]
        script += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(at))}" for at in sorted(set(closed.values()))]
        script += [
            f"mkdir -p {shlex.quote(str(path))}; mount --bind {at} {shlex.quote(str(path))}"
            for path, at in aside.items()
        ]
        script.append(f'exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups -- "$@"')
        done = _run(("unshare", "-m", "sh", "-c", "\n".join(script), "sh", *command), env)
    if closed and "mount: " in done.stderr:
        pytest.skip(f"{', '.join(map(str, closed))} cannot be shown to another user: {done.stderr.strip()}")
    return done


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
