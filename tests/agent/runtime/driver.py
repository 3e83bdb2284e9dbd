"""An agent in small, for tests to kill: adopts, applies what stands in a file, reports what it observes.

``driver.py DATA_DIR FIRST_PORT DESIRED_FILE``: prints one line of JSON per change, and applies the file again whenever
it changes.
"""

# ruff: noqa: ASYNC240  # a small file on a local disk
from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from motorpool_agent.reconcile.assignment import Desired
from motorpool_agent.runtime.supervisor import Supervisor
from tests.agent.runtime.fakes import QUICK, ServerBackends


async def main() -> None:
    data_dir, first_port, file = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    supervisor = Supervisor(
        data_dir=data_dir,
        cache_dir=data_dir / "cache",
        backends=ServerBackends(),
        address="127.0.0.1",
        ports=range(first_port, first_port + 8),
        notify=lambda: report(supervisor),
        timings=QUICK,
    )
    await supervisor.adopt()
    applied = b""
    while True:
        content = file.read_bytes() if file.exists() else b""
        if content != applied:
            applied = content
            supervisor.apply(msgspec.json.decode(content, type=Desired))
        await asyncio.sleep(0.005)


def report(supervisor: Supervisor) -> None:
    line = {one.assignment_id: [one.state, one.pid, one.adopted] for one in supervisor.observed().values()}
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(main())
