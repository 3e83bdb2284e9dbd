import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from benchmarks.agent import idle_of

# Starts a child that burns its processor, and does nothing itself.
PARENT = (
    "import subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
    "print('up', flush=True)\n"
    "sys.stdin.read()\n"
    "child.kill(); child.wait()\n"
)


@pytest.fixture
def parent() -> Iterator[psutil.Process]:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert b"up\n" == process.stdout.readline()
        yield psutil.Process(process.pid)
        process.communicate(b"")


def test_children_count_apart(parent: psutil.Process) -> None:
    """
    What a child takes is not its parent's.
    """
    (idle,) = idle_of([parent], 0.3)

    ((command, resident_bytes, cpu_ratio),) = idle.children
    assert "while True" in command
    assert resident_bytes > 0
    assert idle.resident_bytes > 0
    assert idle.cpu_ratio < cpu_ratio


def test_a_process_without_children(parent: psutil.Process) -> None:
    """
    A process without children has none, and several are measured at once.
    """
    _, idle = idle_of([parent, *parent.children()], 0.05)

    assert () == idle.children
