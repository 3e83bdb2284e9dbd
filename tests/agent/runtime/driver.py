"""An agent in small, for tests to kill: adopts, applies what stands in a file, reports what it observes.

``driver.py DATA_DIR FIRST_PORT DESIRED_FILE [LAUNCHER]``: prints one line of JSON per change, and records and applies
the file again whenever it changes.
"""

# ruff: noqa: ASYNC240  # a small file on a local disk
from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from motorpool_agent.reconcile.assignment import Assignment, Desired, DesiredVersion, Tombstone
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_agent.state.desired import DesiredRecord
from tests.agent.runtime.fakes import QUICK, ServerBackends


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """State, pid and whether adopted of each assignment, and who holds which port."""

    instances: Mapping[str, tuple[str, int, bool]]
    ports: Mapping[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What of a desired state stands in the file: instances, and no questions."""

    version: DesiredVersion | None = None
    assignments: Mapping[str, Assignment] = field(default_factory=dict)
    tombstones: Mapping[str, Tombstone] = field(default_factory=dict)


def read(content: bytes) -> Desired:
    """Return the desired state that was written."""
    told = msgspec.json.decode(content, type=Written)
    return Desired(version=told.version, assignments=told.assignments, tombstones=told.tombstones)


async def main() -> None:
    data_dir, first_port, file = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    adopted = asyncio.Event()
    supervisor = Supervisor(
        data_dir=data_dir,
        cache_dir=data_dir / "cache",
        backends=ServerBackends(),
        address="127.0.0.1",
        ports=range(first_port, first_port + 8),
        notify=lambda: report(supervisor) if adopted.is_set() else None,
        timings=QUICK,
        launcher=Path(sys.argv[4]) if len(sys.argv) > 4 else None,
    )
    await supervisor.adopt()
    # As an agent does, which begins its session then.
    adopted.set()
    report(supervisor)
    accepted = DesiredRecord(data_dir)
    applied = b""
    while True:
        content = file.read_bytes() if file.exists() else b""
        if content != applied:
            applied = content
            wanted = read(content)
            if wanted.version is not None:
                accepted.accept("cluster", wanted.version)
            supervisor.apply(wanted)
        await asyncio.sleep(0.005)


def report(supervisor: Supervisor) -> None:
    instances = {one.assignment_id: (one.state, one.pid, one.adopted) for one in supervisor.observed().values()}
    line = Line(instances=instances, ports=dict(supervisor._context.ports._holders))
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(main())
