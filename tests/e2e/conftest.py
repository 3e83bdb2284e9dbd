"""What end-to-end tests share: the engine, made once; a tiny model; a fleet a test."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fleet import BIN, Fleet
from tests.models.tiny_gguf import make_tiny_gguf

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", name="engines")
def make_engines() -> Path:
    """
    The folder with the llama.cpp engine, made by the agent's own command the first time.
    """
    data_dir = ROOT / ".cache" / "e2e-agent"
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the tests' workers share it
        done = subprocess.run(
            [
                *(str(BIN / "motorpool-agent"), "engine", "install", "llama_cpp"),
                *("--data-dir", str(data_dir), "--cache-dir", str(data_dir / "cache")),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return data_dir / "engines"


@pytest.fixture(scope="session", name="tiny_model")
def make_tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A random model that answers in words, 0.7 MB.
    """
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    make_tiny_gguf(path)
    return path


@pytest.fixture(name="fleet")
def make_fleet(tmp_path: Path, engines: Path) -> Iterator[Fleet]:
    """
    A controller that answers, and no agents yet.
    """
    fleet = Fleet(tmp_path, engines)
    try:
        fleet.start_controller()
        yield fleet
    finally:
        fleet.close()
