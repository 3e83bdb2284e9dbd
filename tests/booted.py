"""A machine booted by systemd, in namespaces of this one: its own processes, mounts and control groups, the same files.

systemd is the first process there, with ``/run`` of its own, and makes units, journals and control groups as on any
machine, memory limits and device rules included. Only root may make one; nothing of it is left.

``python -m tests.booted COMMAND...`` runs a command in one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
SYSTEMD = Path("/lib/systemd/systemd")
INSIDE = "MOTORPOOL_TESTS_BOOTED"
"""Set for what runs there."""

INSTALLED = Path("/etc/systemd/system")
_LIBRARY = Path("/lib/systemd/system")
_UNITS = ("-.slice", "system.slice", "systemd-journald.service", "systemd-journald.socket")
_TARGETS = ("multi-user", "basic", "sysinit", "shutdown", "umount", "final", "sockets", "paths", "timers", "slices")
_SECONDS = 60.0
_PASSED_ON = ("PATH", "HOME", "LANG", "CI", "TMPDIR", "HYPOTHESIS_PROFILE")


def missing() -> str:
    """Return why this machine cannot boot one, empty where it can."""
    if os.geteuid() != 0:
        return "only root may make namespaces of mounts and processes"
    if not SYSTEMD.exists():
        return f"{SYSTEMD} is not there; on Debian and Ubuntu: apt-get install systemd"
    return ""


class Booted:
    """One such machine, from entering to leaving.

    With ``state``, an empty folder, ``/etc`` and ``/var`` are its own above this machine's, and survive its reboots:
    units may be installed there, and those that are enabled start at boot.
    """

    def __init__(self, state: Path | None = None) -> None:
        self._state = state
        self._group = f"motorpool-tests-{os.getpid()}-{time.monotonic_ns()}"
        self._hierarchies = [Path(path) for path, kind, _ in _mounts() if kind in {"cgroup", "cgroup2"}]
        self._outer: subprocess.Popen[bytes] | None = None
        self.pid = 0
        self._count = 0

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self.shut_down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut_down()

    def reboot(self) -> None:
        """End all that runs there at once, as a power cut does, and boot again. The kernel, and its boot id, stay."""
        self.shut_down()
        self._boot()

    def shut_down(self) -> None:
        """End all that runs there."""
        if self._outer is not None:
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
            else:
                self._outer.kill()
            self._outer.communicate(timeout=_SECONDS)
            self._outer, self.pid = None, 0
        for hierarchy in self._hierarchies:
            _remove(hierarchy / self._group)

    def command(self, *argv: str, environment: Mapping[str, str] | None = None) -> list[str]:
        """Return how to run a command there, in a control group of its own; its input and output are the caller's."""
        self._count += 1
        own = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        variables = {**own, **(environment or {}), INSIDE: "1"}
        return [
            *self._enter(),
            *(
                "env",
                "--ignore-environment",
                f"--chdir={ROOT}",
                *(f"{name}={value}" for name, value in variables.items()),
            ),
            *("systemd-run", "--quiet", "--scope", "--collect", f"--unit=test-{self._count}", "--"),
            *argv,
        ]

    def run(self, *argv: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command there, and return what it printed."""
        return subprocess.run(
            self.command(*argv),
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )

    def _boot(self) -> None:
        for hierarchy in self._hierarchies:
            _make(hierarchy / self._group)
        groups = [path / self._group / "cgroup.procs" for path in self._hierarchies]
        into = " ".join(f"'{path}'" for path in groups if path.exists())
        self._outer = subprocess.Popen(
            [
                *("sh", "-c", f'for group in {into}; do echo $$ > "$group"; done; exec "$@"', "sh"),
                *("unshare", "--mount", "--pid", "--fork", "--cgroup", "--mount-proc", "--propagation", "private"),
                *(sys.executable, "-m", "tests.booted", "--boot", *([] if self._state is None else [str(self._state)])),
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.pid = self._first_process()
        deadline = time.monotonic() + _SECONDS
        while True:
            asked = subprocess.run(
                [*self._enter(), "systemctl", "is-system-running", "--wait"],
                check=False,
                capture_output=True,
                text=True,
            )
            if asked.stdout.strip() == "running":
                return
            assert time.monotonic() < deadline, f"systemd is {asked.stdout.strip()!r}: {asked.stderr}"
            time.sleep(0.05)

    def _first_process(self) -> int:
        assert self._outer is not None
        deadline = time.monotonic() + _SECONDS
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        while True:
            with contextlib.suppress(OSError, IndexError):
                pid = int(children.read_text(encoding="ascii").split()[0])
                if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8") == "systemd\n":
                    return pid
            if self._outer.poll() is not None:
                assert self._outer.stderr is not None
                said = self._outer.stderr.read().decode(errors="replace")
                raise AssertionError(f"no namespaces could be made, or systemd did not start in them: {said}")
            assert time.monotonic() < deadline, "systemd never came up"
            time.sleep(0.02)

    def _enter(self) -> tuple[str, ...]:
        return ("nsenter", f"--target={self.pid}", "--mount", "--pid", "--cgroup", "--")


def boot(state: Path | None) -> None:
    """Become systemd: called as the first process of new namespaces."""
    if state is not None:
        _lay_over(state)
    for path, kind, options in _mounts():
        if kind not in {"cgroup", "cgroup2"}:
            continue
        # Mounted anew, so that it begins at this namespace's own groups.
        controllers = [each for each in options.split(",") if each not in {"rw", "ro", "relatime", "xattr"}]
        named = ["none", *controllers] if any(each.startswith("name=") for each in controllers) else controllers
        _run("umount", path)
        _run("mount", "-t", kind, *(("-o", ",".join(named)) if kind == "cgroup" else ()), kind, path)
    _run("mount", "-t", "tmpfs", "tmpfs", "/run")
    units = Path("/run/units")
    for folder in (units, Path("/run/systemd/system"), Path("/run/lock"), Path("/run/log")):
        folder.mkdir(parents=True)
    for name in _TARGETS:
        (units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\nDefaultDependencies=no\n", encoding="utf-8")
    (units / "default.target").write_text(
        "[Unit]\nDescription=up\nRequires=systemd-journald.service\nAfter=systemd-journald.service\n"
        "Wants=multi-user.target\n",
        encoding="utf-8",
    )
    for name in _UNITS:
        with contextlib.suppress(FileNotFoundError):
            (units / name).write_bytes((_LIBRARY / name).read_bytes())
    if not Path("/etc/machine-id").exists():
        (units / "machine-id").write_text("0123456789abcdef0123456789abcdef\n", encoding="ascii")
        Path("/etc/machine-id").touch()
        _run("mount", "--bind", str(units / "machine-id"), "/etc/machine-id")
    # As the first process of a machine does: what units' helpers mount is seen by all, and by no other machine.
    _run("mount", "--make-rshared", "/")
    # Transient units are read again from their files, too, whenever the manager reads units anew.
    folders = ("/run/systemd/transient", str(units), *(() if state is None else (str(INSTALLED),)))
    os.execve(
        SYSTEMD,
        ["systemd", "--system", "--unit=default.target", "--log-target=null"],
        {
            "PATH": os.environ["PATH"],
            "container": "motorpool-tests",
            "SYSTEMD_UNIT_PATH": ":".join(folders),
        },
    )


def _lay_over(state: Path) -> None:
    for name in ("etc", "var"):
        upper, work = state / name, state / f"{name}.work"
        for folder in (upper, work):
            folder.mkdir(exist_ok=True)
        _run("mount", "-t", "overlay", "-o", f"lowerdir=/{name},upperdir={upper},workdir={work}", "overlay", f"/{name}")
    # None of this machine's own.
    units = state / "units"
    units.mkdir(exist_ok=True)
    INSTALLED.mkdir(parents=True, exist_ok=True)
    _run("mount", "--bind", str(units), str(INSTALLED))


def _mounts() -> list[tuple[str, str, str]]:
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return [(path, kind, options) for _, path, kind, options, *_ in (line.split() for line in lines)]


def _make(group: Path) -> None:
    with contextlib.suppress(OSError):  # a hierarchy that may not be written is not the machine's own there, either
        group.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (group / name).exists():
                (group / name).write_text((group.parent / name).read_text(encoding="ascii"), encoding="ascii")


def _remove(group: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while group.exists():
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        assert time.monotonic() < deadline, f"still in use: {group}"
        time.sleep(0.02)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def booted() -> Iterator[Booted]:
    """Boot one, for as long as the block."""
    with Booted() as machine:
        yield machine


def main(arguments: Sequence[str]) -> int:
    """Run a command in one; or, as its first process, boot it."""
    if arguments[:1] == ["--boot"]:
        boot(Path(arguments[1]) if arguments[1:] else None)
    if reason := missing():
        print(f"tests.booted: {reason}", file=sys.stderr)
        return 1
    with Booted() as machine:
        return subprocess.run(machine.command(*arguments), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
