"""Devices are handed to the engines they are claimed for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.reconcile.assignment import Assignment, DeviceClaim
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.supervisor import Supervisor
from tests.agent.runtime.fakes import ServerBackends, assignment, desired, until_state


def claiming(tmp_path: Path, *device_ids: str, **env: str) -> Assignment:
    devices = tuple(DeviceClaim(device_id, 1 << 20) for device_id in device_ids)
    return replace(assignment(tmp_path), devices=devices, env=env, framework="acme")


def environment_of(pid: int) -> dict[str, str]:
    parts = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8").split("\0")
    return dict(part.split("=", 1) for part in parts if part)


async def test_an_engine_sees_its_devices(supervisor: Supervisor, tmp_path: Path, backends: ServerBackends) -> None:
    """
    The vendor's variables are in the engine's environment and in the command that is shown; the backend is told ids
    and indexes.
    """
    supervisor.apply(desired(claiming(tmp_path, "card-1", "card-0", MINE="kept")))
    seen = await until_state(supervisor, State.RUNNING)

    env = environment_of(seen.pid)
    assert ("card-1,card-0", "kept") == (env["ACME_VISIBLE"], env["MINE"])
    assert seen.launch is not None
    assert "card-1,card-0" == seen.launch.env["ACME_VISIBLE"]
    (request,) = backends.requests
    assert (("card-1", "card-0"), (1, 0)) == (request.device_ids, request.device_indexes)


async def test_without_claims_no_vendor_is_asked(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An engine on processors gets nothing of devices.
    """
    supervisor.apply(desired(claiming(tmp_path)))
    seen = await until_state(supervisor, State.RUNNING)

    assert "ACME_VISIBLE" not in environment_of(seen.pid)


async def test_a_claimed_device_that_is_gone_stops_the_launch(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    Nothing is launched on other devices than those claimed; the failure names the one that is missing.
    """
    supervisor.apply(desired(claiming(tmp_path, "card-0", "card-7")))
    seen = await until_state(supervisor, State.ERROR)

    assert seen.last_failure is not None
    assert "DEVICE_MISSING" == seen.last_failure.reason
    assert "card-7 is claimed for instances/a1 and is not on this node, which has card-0, card-1" in (
        seen.last_failure.message
    )


async def test_a_device_that_comes_back_is_used(
    supervisor: Supervisor, tmp_path: Path, backends: ServerBackends
) -> None:
    """
    The launch is tried again, and goes on when the device is there.
    """
    supervisor.apply(desired(claiming(tmp_path, "card-7")))
    await until_state(supervisor, State.ERROR)
    backends.cards.append(7)

    await until_state(supervisor, State.RUNNING)


async def test_a_vendor_that_cannot_hand_over_stops_the_launch(
    supervisor: Supervisor, tmp_path: Path, backends: ServerBackends
) -> None:
    """
    A plugin that fails to say how devices are handed over is the failure's reason.
    """
    backends.cards.append(9)
    supervisor.apply(desired(claiming(tmp_path, "card-9")))
    seen = await until_state(supervisor, State.ERROR)

    assert seen.last_failure is not None
    assert "PLUGIN_CRASHED" == seen.last_failure.reason
    assert [] == backends.requests


async def test_a_deployment_cannot_choose_other_devices(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    A variable that hands devices over is Motorpool's: a deployment that sets it is refused for good.
    """
    supervisor.apply(desired(claiming(tmp_path, "card-0", ACME_VISIBLE="card-1")))
    seen = await until_state(supervisor, State.ERROR)

    assert seen.last_failure is not None
    assert "POLICY_DENIED" == seen.last_failure.reason
    assert "ACME_VISIBLE" in seen.last_failure.message


async def test_indexes_are_told_of_whole_devices_only(
    supervisor: Supervisor, tmp_path: Path, backends: ServerBackends
) -> None:
    """
    Where a device has no index, as a partition, no indexes are told: they would name other devices.
    """
    backends.cards.append(None)
    supervisor.apply(desired(claiming(tmp_path, "card-0", "card-None")))
    await until_state(supervisor, State.RUNNING)

    (request,) = backends.requests
    assert (("card-0", "card-None"), ()) == (request.device_ids, request.device_indexes)


@pytest.mark.promise("P5")
async def test_processors_do_not_wait_for_vendors(
    supervisor: Supervisor, tmp_path: Path, backends: ServerBackends
) -> None:
    """
    While a vendor's plugin does not answer, what claims no device is launched; what claims one waits.
    """
    backends.vendors_ready.clear()
    waiting = replace(claiming(tmp_path, "card-0"), assignment_id="a2", instance="instances/a2")
    supervisor.apply(desired(assignment(tmp_path), waiting))

    await until_state(supervisor, State.RUNNING)
    assert State.STARTING is supervisor.observed()["a2"].state

    backends.vendors_ready.set()
    await until_state(supervisor, State.RUNNING, "a2")
