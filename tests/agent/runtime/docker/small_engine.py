"""A Docker Engine of a test's own on a small tmpfs. It publishes ports by its proxy, and changes no firewall."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from motorpool_agent.runtime.docker.glance import engine

NETWORK = "10.213.77.1/24"
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SmallEngine:
    """A Docker Engine that answers at ``address``; ``fill`` leaves it no room, ``empty`` gives it back."""

    address: str
    disk: Path

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


@contextlib.contextmanager
def small_engine(size_mib: int) -> Iterator[SmallEngine]:
    """Run one for the time of the block; needs root, dockerd and ip."""
    with contextlib.ExitStack() as stack:
        # A short path: sockets have no room for long ones, and dockerd's lie deep.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mp-", ignore_cleanup_errors=True)))
        disk = folder / "disk"
        disk.mkdir()
        small = SmallEngine(f"unix://{folder}/docker.sock", disk)
        _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(disk))
        stack.callback(_run, "umount", "--lazy", str(disk))
        bridge = f"mp-{os.getpid()}"
        _run("ip", "link", "add", bridge, "type", "bridge")
        stack.callback(_run, "ip", "link", "delete", bridge)
        _run("ip", "address", "add", NETWORK, "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        command = [
            *("dockerd", "--host", small.address, "--bridge", bridge, "--iptables=false", "--ip-masq=false"),
            *("--data-root", str(disk / "docker"), "--exec-root", str(folder / "exec")),
            *("--pidfile", str(folder / "docker.pid")),
        ]
        with (folder / "dockerd.log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        stack.callback(_end, process)
        _wait(process, small.address, folder / "dockerd.log")
        yield small


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
