"""The program that runs a node of a Ray cluster, with small programs in the place of Ray and vLLM."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from motorpool_vllm import node

LEAVE_SECONDS = 30.0
Start = Callable[..., "subprocess.Popen[str]"]

# What listens, as Ray's control store does, and says so; ends as it is told to.
STORE = """
import signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: (print("store ends", flush=True), sys.exit(0)))
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("store listens", flush=True)
while True:
    signal.pause()
"""
# As much of Ray's interface as asks who has joined: a line in a file for each.
RAY_MODULE = """
from pathlib import Path
def init(**given): assert given["address"] and given["_node_ip_address"], given
def nodes(): return [{"Alive": line == "alive"} for line in Path(JOINED).read_text().splitlines()]
"""
WAITS = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("engine ends", flush=True), sys.exit(0)))
print("engine runs on", os.environ.get("RAY_ADDRESS"), flush=True)
signal.pause()
"""


@pytest.fixture(name="port")
def free_port() -> int:
    """
    A port of this machine that nobody listens on.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture(name="joined")
def make_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    The file by which nodes have joined, and a module `ray` that reads it.
    """
    joined = tmp_path / "joined"
    joined.write_text("alive\n")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "ray.py").write_text(f"JOINED = {str(joined)!r}\n{RAY_MODULE}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    return joined


@pytest.fixture(name="start")
def make_start(tmp_path: Path, port: int) -> Iterator[Start]:
    """
    Start a node with these programs: the first in the place of Ray, the second of vLLM.
    """
    started: list[subprocess.Popen[str]] = []

    def start(*programs: str, folder: Path = tmp_path / "ray") -> subprocess.Popen[str]:
        own = ("--head", f"127.0.0.1:{port}", "--address", "127.0.0.1", "--nodes", "2", "--folder", str(folder))
        commands = [
            part for text in programs for part in ("--", sys.executable, "-c", textwrap.dedent(text), str(port))
        ]
        process = subprocess.Popen(
            [sys.executable, node.__file__, *own, *commands],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], words: str) -> str:
    """Read what it says until these words come."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"{words!r} was not said: {said}")


def test_the_engine_starts_once_all_have_joined(start: Start, joined: Path, port: int, tmp_path: Path) -> None:
    """
    One that joined and left does not count; the engine is told where the cluster is.
    """
    joined.write_text("alive\ngone\n")
    process = start(STORE, WAITS)
    assert "engine runs" not in until(process, "1 of 2 nodes have joined")

    joined.write_text("alive\ngone\nalive\n")
    said = until(process, "engine runs")
    assert "all 2 nodes have joined" in said
    assert f"engine runs on 127.0.0.1:{port}" in said

    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=LEAVE_SECONDS)
    assert rest.index("engine ends") < rest.index("store ends")
    assert 128 + signal.SIGTERM == process.returncode
    assert not (tmp_path / "ray").exists()


@pytest.mark.parametrize(("code", "status"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137), ("pass", 0)])
def test_it_ends_as_its_engine_does(start: Start, joined: Path, code: str, status: int) -> None:
    """
    The engine's status is the node's, and Ray is ended.
    """
    joined.write_text("alive\nalive\n")
    process = start(STORE, f"import os, sys\n{code}")
    said, _ = process.communicate(timeout=LEAVE_SECONDS)

    assert status == process.returncode
    assert "store ends" in said
    assert "engine ended with status" in said


def test_it_ends_when_ray_does(start: Start, joined: Path, tmp_path: Path) -> None:
    """
    Ray's status is the node's, its own logs are in the node's, and no engine is started on a cluster that is gone.
    """
    logs = tmp_path / "ray" / "session_latest" / "logs"
    process = start(
        f"import pathlib, sys; p = pathlib.Path({str(logs)!r}); p.mkdir(parents=True);"
        "(p / 'gcs_server.err').write_text('no such port\\n'); sys.exit(3)",
        WAITS,
    )
    said, _ = process.communicate(timeout=LEAVE_SECONDS)

    assert 3 == process.returncode
    assert "gcs_server.err: no such port" in said
    assert "engine runs" not in said


def test_a_follower_waits_for_the_one_that_leads(start: Start, port: int) -> None:
    """
    It joins when the control store listens, which may be later, and ends with what it started.
    """
    process = start("print('joins')")
    assert "joins" not in until(process, f"waiting for 127.0.0.1:{port}")

    with socket.create_server(("127.0.0.1", port)):
        said, _ = process.communicate(timeout=LEAVE_SECONDS)

    assert said.startswith("joins")
    assert 0 == process.returncode


def test_what_an_earlier_run_left_is_removed(start: Start, tmp_path: Path) -> None:
    """
    Sockets and logs of a run that was killed are of no use to the next one.
    """
    (tmp_path / "ray" / "session_old").mkdir(parents=True)
    process = start(STORE)
    until(process, "waiting for")

    assert [] == list((tmp_path / "ray").iterdir())


def test_anothers_folder_is_left_alone(start: Start, tmp_path: Path) -> None:
    """
    A link in its place may lead anywhere: it says so, and touches nothing.
    """
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / "ray").symlink_to(tmp_path / "precious")
    process = start(STORE, WAITS)
    said, _ = process.communicate(timeout=LEAVE_SECONDS)

    assert 1 == process.returncode
    assert "is another one's; remove it" in said
    assert (tmp_path / "precious" / "file").exists()
