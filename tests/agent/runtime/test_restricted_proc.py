"""A machine that shows its users their own processes alone (hidepid)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from motorpool_agent.runtime import procfs
from tests.ordinary import open_folder, run_as_nobody

PROGRAM = """
import asyncio, json, os, sys
from pathlib import Path
from motorpool_agent.reconcile.assignment import Assignment, ModelSource
from motorpool_agent.reconcile.handle import Handle, Identity, LaunchRecord, Phase
from motorpool_agent.reconcile.observation import Rendered
from motorpool_agent.runtime import procfs
from motorpool_agent.runtime.errors import StopError
from motorpool_agent.runtime.process import ProcessExecutor

pid, ticks, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
directory = folder / "instances" / "a1"
directory.mkdir(parents=True)
process = {"version": 1, "run": 1, "boot_id": procfs.boot_id(), "engine_pid": pid, "engine_ticks": ticks,
           "shim_pid": pid, "shim_ticks": ticks, "cgroup": ""}
(directory / "process.json").write_text(json.dumps(process))
assignment = Assignment(assignment_id="a1", generation=1, digest="", instance="instances/a", deployment="", backend="",
                        backend_version="", framework="", model=ModelSource(kind=""), served_model_name="")
launch = LaunchRecord(executor="process", argv=("x",), environment={}, working_directory="/", ports={"http": 1},
                      listen_address="127.0.0.1", rendered=Rendered(executor="process", argv=("x",)))
handle = Handle(assignment=assignment, phase=Phase.STARTED, run=1, boot_id=procfs.boot_id(), launch=launch,
                engine=Identity(pid=pid, start_ticks=ticks, boot_id=procfs.boot_id()))

async def main():
    executor = ProcessExecutor(folder)
    evidence = await executor.inspect(directory, handle)
    print(evidence.verdict, evidence.message)
    if evidence.verdict == "running":
        return
    try:
        await executor.stop(directory, 0.0)
        print("stopped")
    except StopError as error:
        print(error.reason)

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount /proc with hidepid")
@pytest.mark.needs("unshare")
@pytest.mark.promise("P3")
def test_a_process_that_is_hidden_is_left_alone_and_not_taken_for_gone() -> None:
    """
    An engine of another user, of whom /proc tells nothing, is uncertain: it is neither started again nor said to be
    stopped, and the message says what to do. Where /proc tells of it, it is who it is.
    """
    own = procfs.identify(os.getpid())
    assert own is not None
    said = {}
    for options in ("hidepid=2", "hidepid=0"):
        with open_folder() as folder:
            data_dir = folder / "data"
            data_dir.mkdir()
            data_dir.chmod(0o777)
            done = run_as_nobody(
                *(sys.executable, "-c", PROGRAM, str(own.pid), str(own.start_ticks), str(data_dir)),
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])},
                proc_options=options,
            )
        assert 0 == done.returncode, done.stderr
        said[options] = done.stdout.splitlines()

    assert said["hidepid=2"][0].startswith(f"uncertain process {own.pid} lives, and whose it is /proc does not tell")
    assert "STOP_UNPROVEN" == said["hidepid=2"][1]
    assert said["hidepid=0"][0].startswith("running")
