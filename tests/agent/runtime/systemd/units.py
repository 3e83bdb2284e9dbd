"""The systemd executor keeps the contract, on a machine that systemd booted: run there by test_executor.py."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from motorpool_agent.reconcile.assignment import Assignment, DeviceClaim
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime import procfs
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_agent.runtime.systemd.units import Units
from motorpool_agent.state.handles import Handles
from tests.agent.runtime.conformance import ExecutorContract, MakeSupervisor
from tests.agent.runtime.fakes import ServerBackends, desired, tombstone, until, until_gone, until_state

KMSG, TUN = (1, 11), (10, 200)
"""Devices that every machine has, and no unit is given unasked."""


@pytest.fixture(name="data_dir")
def make_data_dir(tmp_path: Path) -> Iterator[Path]:
    """
    A data directory; units of its agents are ended after the test.
    """
    data_dir = tmp_path / "data"
    yield data_dir
    names = [unit["name"] for unit in units(data_dir)]
    if names:
        with contextlib.suppress(subprocess.CalledProcessError):  # those that have ended
            systemctl("kill", "--signal=KILL", *names)
        systemctl("stop", *names)


def systemctl(*arguments: str) -> str:
    """Ask systemd, and return what it says."""
    return subprocess.run(["systemctl", *arguments], check=True, capture_output=True, text=True).stdout


def units(data_dir: Path, assignment_id: str = "") -> list[dict[str, str]]:
    """Return what systemd knows of an agent's units, or one assignment's."""
    pattern = Units(data_dir, user=False).name(assignment_id or "*", 0).removesuffix("0.service") + "*.service"
    shown = systemctl("show", "--property=Id,ActiveState,SubState,MainPID,InvocationID,ControlGroup", pattern)
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in shown.split("\n\n")]
    return [{"name": block["Id"], **block} for block in blocks if "Id" in block]


def group(unit: Mapping[str, str]) -> Path:
    """Return a unit's control group."""
    named = Path("/sys/fs/cgroup/systemd")
    return (named if named.exists() else named.parent) / unit["ControlGroup"].lstrip("/")


def members(unit: Mapping[str, str]) -> list[int]:
    """Return the processes in a unit's control group."""
    return [int(line) for line in (group(unit) / "cgroup.procs").read_text(encoding="ascii").split()]


def journal(unit: Mapping[str, str]) -> str:
    """Return what the journal has of a unit."""
    command = ["journalctl", "--no-pager", f"--unit={unit['name']}", "--output=cat"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def replace_unit(unit: Mapping[str, str]) -> None:
    """End a unit, and start another of its name."""
    systemctl("stop", unit["name"])
    with contextlib.suppress(subprocess.CalledProcessError):  # where systemd has forgotten it already
        systemctl("reset-failed", unit["name"])
    subprocess.run(["systemd-run", "--quiet", f"--unit={unit['name']}", "sleep", "1000"], check=True)


class TestSystemd(ExecutorContract):
    """A unit is known by its invocation."""

    executor = "systemd"

    def engines(self, data_dir: Path, assignment_id: str = "a1") -> Mapping[str, int]:
        """Return the units whose first process runs."""
        return {
            unit["InvocationID"]: int(unit["MainPID"])
            for unit in units(data_dir, assignment_id)
            if unit["MainPID"] != "0" and psutil.pid_exists(int(unit["MainPID"]))
        }

    async def test_unit_is_named_and_keeps_its_secrets(
        self, supervisor: Supervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        A unit says whose it is, its journal has the engine's output, and neither it nor a file shows the environment.
        """
        supervisor.apply(desired(wish(environment="")))
        await until_state(supervisor, State.RUNNING)
        (unit,) = units(data_dir, "a1")

        assert "s3cret-key" not in systemctl("show", unit["name"])
        assert not (data_dir / "instances" / "a1" / "environment").exists()
        await until(lambda: "ENGINE_SETTING=on" in journal(unit))
        assert "/motorpool.slice/" in unit["ControlGroup"]

    async def test_arguments_and_variables_are_handed_over_as_they_are(
        self, supervisor: Supervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        What systemd would replace in a unit of its own, references and specifiers and quotes, reaches the engine whole.
        """
        odd = """$HOME ${PATH} %h %% "x" 'y' \\t \\ `z` é"""
        supervisor.apply(desired(replace(wish(odd=odd, environment=""), env={"ODD": odd, "LINES": "one\n$two"})))
        seen = await until_state(supervisor, State.RUNNING)
        process = psutil.Process(seen.pid)

        assert f"--odd={odd}" in process.cmdline()
        assert (odd, "one\n$two") == (process.environ()["ODD"], process.environ()["LINES"])

    async def test_nothing_of_it_is_left_in_systemd(
        self, supervisor: Supervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        A removed instance leaves no unit, failed or not, and no control group.
        """
        supervisor.apply(desired(wish(), wish("a2", restart=False, exit="3")))
        await until_state(supervisor, State.RUNNING)
        await until_state(supervisor, State.ERROR, "a2")
        groups = [group(unit) for unit in units(data_dir) if unit["ControlGroup"]]
        supervisor.apply(desired(tombstones=[tombstone(), tombstone("a2")]))
        await until_gone(supervisor)
        await until_gone(supervisor, "a2")

        assert groups
        assert units(data_dir) == []
        await until(lambda: not any(each.exists() for each in groups))

    async def test_memory_limit(self, supervisor: Supervisor, wish: Callable[..., Assignment]) -> None:
        """
        An engine is held to the memory that its deployment states, and killed beyond it for that reason.
        """
        supervisor.apply(desired(replace(wish(restart=False, eat="1024"), memory_limit_bytes=128 << 20)))
        seen = await until_state(supervisor, State.ERROR)
        assert seen.last_failure is not None

        assert ("OUT_OF_MEMORY", True) == (seen.last_failure.reason, seen.last_failure.out_of_memory)

    async def test_devices_of_others_are_out_of_reach(
        self,
        supervisor: Supervisor,
        backends: ServerBackends,
        wish: Callable[..., Assignment],
        data_dir: Path,
        tmp_path: Path,
    ) -> None:
        """
        An engine opens the devices that it claims, and the kernel refuses it all others.
        """
        for card, number in (("card-0", KMSG), ("card-1", TUN)):
            backends.nodes[card] = str(tmp_path / card)
            os.mknod(backends.nodes[card], stat.S_IFCHR | 0o600, os.makedev(*number))
            # This process may open both.
            os.close(os.open(backends.nodes[card], os.O_RDWR))
        claims = (DeviceClaim(device_id="card-0", memory_bytes=1 << 20),)
        wished = wish(devices=",".join(backends.nodes.values()))
        supervisor.apply(desired(replace(wished, devices=claims)))
        await until_state(supervisor, State.RUNNING)
        log = data_dir / "instances" / "a1" / "logs" / "000001.log"
        await until(lambda: backends.nodes["card-1"] in log.read_text())

        # A message of the kernel is longer than the four bytes that were asked for.
        assert f"{backends.nodes['card-0']} Invalid argument" in log.read_text()
        assert f"{backends.nodes['card-1']} Operation not permitted" in log.read_text()

    async def test_device_node_that_is_not_there(
        self, supervisor: Supervisor, backends: ServerBackends, wish: Callable[..., Assignment], tmp_path: Path
    ) -> None:
        """
        A node that the vendor's plugin names and the host has not is an error that names it; nothing runs without it.
        """
        backends.nodes["card-0"] = str(tmp_path / "missing0")
        claims = (DeviceClaim(device_id="card-0", memory_bytes=1 << 20),)
        supervisor.apply(desired(replace(wish(restart=False), devices=claims)))
        seen = await until_state(supervisor, State.ERROR)
        assert seen.last_failure is not None

        assert "DEVICE_MISSING" == seen.last_failure.reason
        assert "missing0" in seen.last_failure.message

    @pytest.mark.promise("P3")
    async def test_unit_of_another_invocation(
        self, make: MakeSupervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        A unit of the right name that somebody started again is not taken for the one that was: it is quarantined.
        """
        supervisor = make()
        await supervisor.adopt()
        supervisor.apply(desired(wish()))
        await until_state(supervisor, State.RUNNING)
        await supervisor.close()
        (unit,) = units(data_dir, "a1")
        replace_unit(unit)
        supervisor = make()
        await supervisor.adopt()

        assert State.QUARANTINED is supervisor.observed()["a1"].state
        assert len(self.engines(data_dir)) == 1

    @pytest.mark.promise("P3")
    async def test_unit_without_a_handle(
        self, make: MakeSupervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        A unit of this agent that has no handle is reported and left, until it is removed.
        """
        supervisor = make()
        await supervisor.adopt()
        supervisor.apply(desired(wish()))
        await until_state(supervisor, State.RUNNING)
        await supervisor.close()
        Handles(data_dir).remove("a1")
        supervisor = make()
        await supervisor.adopt()

        assert State.QUARANTINED is supervisor.observed()["a1"].state
        assert len(self.engines(data_dir)) == 1

        supervisor.apply(desired(tombstones=[tombstone()]))
        await until_gone(supervisor)
        assert {} == self.engines(data_dir)

    async def test_children_end_with_their_unit(
        self, supervisor: Supervisor, wish: Callable[..., Assignment], data_dir: Path
    ) -> None:
        """
        What an engine started, in whatever session, ends with it.
        """
        supervisor.apply(desired(wish(stray=str(data_dir.parent / "stray"))))
        await until_state(supervisor, State.RUNNING)
        await until((data_dir.parent / "stray").exists)
        (unit,) = units(data_dir, "a1")
        pids = members(unit)
        assert len(pids) > 1
        os.kill(int(unit["MainPID"]), signal.SIGKILL)
        await until(lambda: supervisor.observed()["a1"].restart_count == 1)

        await until(lambda: not any(psutil.pid_exists(pid) and procfs.identify(pid) for pid in pids))
