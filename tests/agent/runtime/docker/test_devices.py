"""Device nodes in a real container. The nodes are of the kernel's memory devices, which every machine has."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.reconcile.assignment import DeviceClaim
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.supervisor import Supervisor
from tests.agent.runtime.fakes import ServerBackends, assignment, desired, logged, until, until_state

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="wants to make device nodes"),
]

ZERO, FULL = (1, 5), (1, 7)


async def test_a_container_sees_the_devices_that_it_claims(
    supervisor: Supervisor, backends: ServerBackends, tmp_path: Path, data_dir: Path, image: str
) -> None:
    """
    The nodes of the claimed devices are in the container at their own paths, to be read and written; others are not.
    """
    models = tmp_path / "models"  # its folder is in the container, too
    models.mkdir()
    for card, number in (("card-0", ZERO), ("card-1", FULL)):
        node = tmp_path / f"acme-{card}"
        os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(*number))
        backends.nodes[card] = str(node)
    wish = assignment(models, image=image, devices=",".join(backends.nodes.values()), environment="")

    supervisor.apply(desired(replace(wish, devices=(DeviceClaim(device_id="card-0", memory_bytes=1 << 20),))))
    await until_state(supervisor, State.RUNNING)
    log = data_dir / "instances" / "a1" / "logs" / "000001.log"
    await until(lambda: any("acme-card-1" in line for line in logged(log)), "what the engine saw")

    lines = logged(log)
    assert f"{backends.nodes['card-0']} 1:5 gives 00000000" in lines
    assert f"{backends.nodes['card-1']} No such file or directory" in lines
    assert "ACME_VISIBLE=card-0" in lines


async def test_a_device_node_that_is_not_there(
    supervisor: Supervisor, backends: ServerBackends, tmp_path: Path, image: str
) -> None:
    """
    A node that the vendor's plugin names and the host has not is an error that names it; nothing runs without it.
    """
    backends.nodes["card-0"] = str(tmp_path / "missing0")
    wish = assignment(tmp_path, image=image, restart=False)

    supervisor.apply(desired(replace(wish, devices=(DeviceClaim(device_id="card-0", memory_bytes=1 << 20),))))
    failed = await until_state(supervisor, State.ERROR)

    assert failed.last_failure is not None
    assert "missing0" in failed.last_failure.message
    assert "DEVICE_MISSING" == failed.last_failure.reason
    assert "see that the vendor's driver is loaded" in failed.last_failure.message
