"""A Docker Engine of a test's own on a small tmpfs. It publishes ports by its proxy, and changes no firewall."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from motorpool_agent.reconcile.observation import ObservedInstance
from motorpool_agent.runtime.docker.glance import engine

START_SECONDS = 60.0


class SmallEngine:
    """A Docker Engine that answers at ``address``; ``fill`` leaves it no room, ``empty`` gives it back.

    ``kill`` ends it as a crash would, and ``start`` starts it again.
    """

    def __init__(self, folder: Path, bridge: str, options: Sequence[str]) -> None:
        self.address = f"unix://{folder}/docker.sock"
        self.disk = folder / "disk"
        self._log = folder / "dockerd.log"
        self._containerd = folder / "exec" / "containerd" / "containerd.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [
            *("dockerd", "--host", self.address, "--bridge", bridge, "--iptables=false", "--ip-masq=false"),
            *("--data-root", str(self.disk / "docker"), "--exec-root", str(folder / "exec")),
            *("--pidfile", str(folder / "docker.pid")),
            *options,
        ]

    @property
    def ballast(self) -> Path:
        return self.disk / "ballast"

    def fill(self, leave_mib: int = 0) -> None:
        with self.ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        os.truncate(self.ballast, max(0, self.ballast.stat().st_size - (leave_mib << 20)))

    def empty(self) -> None:
        self.ballast.unlink(missing_ok=True)

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        _wait(self._process, self.address, self._log)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        # Its containerd dies with it, and is taken for living where nobody reaps orphans.
        self._containerd.unlink(missing_ok=True)

    def end(self) -> None:
        if self._process is not None:
            _end(self._process)


@contextlib.contextmanager
def small_engine(size_mib: int, *options: str) -> Iterator[SmallEngine]:
    """Run one for the time of the block; needs root, dockerd and ip."""
    with contextlib.ExitStack() as stack:
        # A short path: sockets have no room for long ones, and dockerd's lie deep.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mp-", ignore_cleanup_errors=True)))
        bridge = f"mp-{os.getpid()}"
        small = SmallEngine(folder, bridge, options)
        small.disk.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(small.disk))
        stack.callback(_run, "umount", "--lazy", str(small.disk))
        _run("ip", "link", "add", bridge, "type", "bridge")
        stack.callback(_run, "ip", "link", "delete", bridge)
        # Another test process may run one of its own meanwhile.
        _run("ip", "address", "add", f"10.213.{os.getpid() % 256}.1/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        stack.callback(small.end)
        small.start()
        yield small


async def says(seen: ObservedInstance) -> bool:
    """Have an instance's engine answer, and print a line."""
    assert seen.launch is not None
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{seen.launch.ports['http']}/say")
    return answer.status_code == 200


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
        # It listens before it answers.
        with contextlib.suppress(OSError, TimeoutError):
            asyncio.run(engine(address))
            return
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
