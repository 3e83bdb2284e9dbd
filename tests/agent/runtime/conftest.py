"""A supervisor on a data directory of its own, and the certainty that nothing it started survives the test."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from motorpool_agent.runtime import procfs
from motorpool_agent.runtime.family import MARKER
from motorpool_agent.runtime.supervisor import Supervisor
from tests.agent.runtime.fakes import QUICK, ServerBackends, free_ports
from tests.control_groups import remove_groups


@pytest.fixture(name="data_dir")
def _data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory; engines and shims started below it are ended after the test."""
    data_dir = tmp_path / "data"
    yield data_dir
    for stat in list(procfs.all_processes()):
        directory = str(data_dir / "instances").encode()
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{stat.pid}/cmdline").read_bytes()
            environment = Path(f"/proc/{stat.pid}/environ").read_bytes()
            if f"{MARKER}=".encode() + directory in environment or (b"/shim/" in command and directory in command):
                os.kill(stat.pid, signal.SIGKILL)
    remove_groups(data_dir)


@pytest.fixture(name="backends")
def _backends() -> ServerBackends:
    return ServerBackends()


@pytest_asyncio.fixture(name="make")
async def _make(data_dir: Path, tmp_path: Path, backends: ServerBackends) -> AsyncIterator[Callable[..., Supervisor]]:
    """Makes supervisors on the data directory; closes them after the test."""
    made: list[Supervisor] = []
    ports = free_ports(8)

    def make(**changes: object) -> Supervisor:
        given: dict[str, object] = {
            "data_dir": data_dir,
            "cache_dir": tmp_path / "cache",
            "backends": backends,
            "address": "127.0.0.1",
            "ports": ports,
            "notify": lambda: None,
            "timings": QUICK,
        }
        supervisor = Supervisor(**{**given, **changes})  # type: ignore[arg-type]  # tests give what it takes
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        await supervisor.close()


@pytest_asyncio.fixture(name="supervisor")
async def _supervisor(make: Callable[..., Supervisor]) -> Supervisor:
    supervisor = make()
    await supervisor.adopt()
    return supervisor
