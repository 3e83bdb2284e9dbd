"""An agent in a process of its own, to be killed; and what the host shows of its engines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import msgspec

from motorpool_agent.reconcile.assignment import Desired, DesiredVersion
from motorpool_agent.runtime import procfs
from motorpool_agent.runtime.family import MARKER
from tests.agent.runtime.driver import Line, read
from tests.agent.runtime.fakes import DEADLINE_SECONDS, ENGINE

ROOT = Path(__file__).parents[3]


class KilledAgent:
    """A driver process. Leaving it kills it, as does ``kill``."""

    def __init__(
        self,
        data_dir: Path,
        first_port: int,
        group: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
        launcher: Path | None = None,
        user: int | None = None,
        groups: Sequence[int] = (),
    ) -> None:
        """Start it: in a control group, with variables, with a launcher, as another user, where they are given."""
        self.data_dir = data_dir
        self._file = data_dir.parent / "desired.json"
        self._changed = threading.Condition()
        self.lines: list[dict[str, tuple[str, int, bool]]] = []
        self.ports: Mapping[int, str] = {}
        enter = [] if group is None else ["sh", "-c", f'echo $$ > "{group}/cgroup.procs" && exec "$@"', "sh"]
        self._process = subprocess.Popen(
            [
                *enter,
                sys.executable,
                "-m",
                "tests.agent.runtime.driver",
                str(data_dir),
                str(first_port),
                str(self._file),
                *([] if launcher is None else [str(launcher)]),
            ],
            cwd=ROOT,
            user=user,
            group=user,
            extra_groups=None if user is None else [*groups],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def apply(self, desired: Desired) -> None:
        """Have it apply a desired state."""
        temporary = self._file.with_suffix(".new")
        before = read(self._file.read_bytes()).version if self._file.exists() else None
        version = DesiredVersion(1, 1 if before is None else before.version + 1)
        temporary.write_bytes(msgspec.json.encode(replace(desired, version=version)))
        temporary.replace(self._file)

    def until(self, state: str, assignment_id: str = "a1") -> tuple[str, int, bool]:
        """Wait until it reported a state; return state, pid and whether it was adopted."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        with self._changed:
            while True:
                if self.lines and self.lines[-1].get(assignment_id, ("",))[0] == state:
                    return self.lines[-1][assignment_id]
                assert self._changed.wait(deadline - time.monotonic()), f"never {state}: {self.lines[-3:]}"

    def until_gone(self, *assignment_ids: str) -> None:
        """Wait until it reported that these are gone."""
        with self._changed:
            gone = self._changed.wait_for(
                lambda: self.lines and not {*assignment_ids} & self.lines[-1].keys(), DEADLINE_SECONDS
            )
        assert gone, f"still there: {self.lines[-1:]}"

    def until_reported(self) -> None:
        """Wait until it reported anything of an instance."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(self.lines), DEADLINE_SECONDS), "it never reported anything"

    def until_file(self, name: str, assignment_id: str = "a1") -> Path:
        """Wait, without rest, until a file of an instance is there."""
        path = self.data_dir / "instances" / assignment_id / name
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not path.exists():
            assert time.monotonic() < deadline, f"{path} never came"
        return path

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                said = msgspec.json.decode(line, type=Line)
                self.lines.append(dict(said.instances))
                self.ports = said.ports
                self._changed.notify_all()


def engines(data_dir: Path, assignment_id: str = "a1") -> dict[int, int]:
    """Return pid and start ticks of an assignment's living engine processes."""
    directory = str(data_dir / "instances" / assignment_id)
    found = {}
    for stat in procfs.all_processes():
        if stat.alive and procfs.environment_has(stat.pid, MARKER, directory):
            try:
                command = Path(f"/proc/{stat.pid}/cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(ENGINE) in command:
                found[stat.pid] = stat.start_ticks
    return found
