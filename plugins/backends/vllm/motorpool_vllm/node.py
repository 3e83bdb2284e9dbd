"""One node of a Ray cluster, and on the one that leads the engine, once all nodes have joined.

Written beside a launch and run there by the Python that has Ray: ``node.py OPTIONS -- RAY… [-- ENGINE…]``. It reads
nothing but its arguments, ends with what ends first, and takes the rest along. Python 3.9 has all that it imports.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

_PERIOD_SECONDS = 0.5
_GRACE_SECONDS = 30.0
_CONNECT_SECONDS = 5.0
_TAIL_LINES = 20
_SIGNALLED = 128
# Ray's public interface tells who is there; asked in a process of its own, so that this one never has Ray's threads.
_JOINED = """
import sys, time, ray
head, address, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
ray.init(address=head, _node_ip_address=address, logging_level="ERROR", log_to_driver=False)
told = 0
while (joined := sum(node["Alive"] for node in ray.nodes())) < wanted:
    if joined != told:
        print(f"{joined} of {wanted} nodes have joined", flush=True)
        told = joined
    time.sleep(0.5)
print(f"all {wanted} nodes have joined", flush=True)
"""


def main(arguments: list[str]) -> int:
    """Run the node and return the status to end with."""
    own, ray, engine = _parts(arguments)
    parser = argparse.ArgumentParser(prog="node.py", description=__doc__)
    parser.add_argument("--head", required=True, help="address and port of the cluster's control store")
    parser.add_argument("--address", required=True, help="this node's own")
    parser.add_argument("--nodes", type=int, required=True, help="how many there are")
    parser.add_argument("--folder", type=Path, required=True, help="where Ray keeps its sockets and logs meanwhile")
    options = parser.parse_args(own)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        _make_own(options.folder)
        if not engine:
            _await_head(options.head)
        running["ray"] = subprocess.Popen(ray)
        if engine:
            asked = (sys.executable, "-c", _JOINED, options.head, options.address, str(options.nodes))
            _await_head(options.head, running)
            running["members"] = subprocess.Popen(asked)
            name, status = _first_end(running)
            if name != "members" or status:
                return _told(name, status, options.folder)
            del running["members"]
            running["engine"] = subprocess.Popen(engine, env={**os.environ, "RAY_ADDRESS": options.head})
        return _told(*_first_end(running), options.folder)
    finally:
        _end(running)
        shutil.rmtree(options.folder, ignore_errors=True)


def _parts(arguments: list[str]) -> Iterator[list[str]]:
    """Yield own options, Ray's command and the engine's, which a node that follows has none of."""
    rest = arguments
    for _ in range(2):
        cut = rest.index("--") if "--" in rest else len(rest)
        yield rest[:cut]
        rest = rest[cut + 1 :]
    yield rest


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(_SIGNALLED + number)


def _make_own(folder: Path) -> None:
    """Make the folder anew: its name is this instance's alone, and what an earlier run of it left is of no use."""
    with contextlib.suppress(FileNotFoundError):
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise SystemExit(f"{folder} is another one's; remove it")
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)


def _await_head(head: str, running: Mapping[str, subprocess.Popen[bytes]] | None = None) -> None:
    """Wait until the control store listens, or what was started to do so has ended."""
    host, _, port = head.rpartition(":")
    place, told = (host.strip("[]"), int(port)), False
    while not any(each.poll() is not None for each in (running or {}).values()):
        try:
            socket.create_connection(place, _CONNECT_SECONDS).close()
        except OSError as error:
            if not told:
                _say(f"waiting for {head}: {error}")
            told = True
            time.sleep(_PERIOD_SECONDS)
        else:
            return


def _first_end(running: Mapping[str, subprocess.Popen[bytes]]) -> tuple[str, int]:
    """Return which of these ended first, and its status."""
    for name, each in running.items():
        if each.returncode is not None:
            return name, each.returncode
    while True:
        # Whatever ends: in a container this is the process that orphans fall to.
        pid, code = os.wait()
        for name, each in running.items():
            if each.pid == pid:
                each.returncode = os.waitstatus_to_exitcode(code)
                return name, each.returncode


def _told(name: str, status: int, folder: Path) -> int:
    """Say what ended, Ray's last words with it, and return the status to end with."""
    if name == "ray":
        for log in ("ray_process_exit.log", "gcs_server.err", "raylet.err"):
            with contextlib.suppress(OSError):
                lines = (folder / "session_latest" / "logs" / log).read_text(errors="replace").splitlines()
                for line in lines[-_TAIL_LINES:]:
                    _say(f"{log}: {line}")
    _say(f"{name} ended with status {status}; ending all of this node")
    return status if status >= 0 else _SIGNALLED - status


def _end(running: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """End what still runs: the engine before the cluster that it is on."""
    for each in reversed(list(running.values())):
        if each.poll() is None:
            each.terminate()
            try:
                each.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                each.kill()


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # the instance's log


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
